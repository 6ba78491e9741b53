//! Testing: the app runs inside the test, with fakes in place of what is outside, and with simulated time.
//!
//! `cargo test --example 14_testing`

use std::{sync::Mutex, time::Duration};

use evenkeel::{App, Exit, Handle, Result};

/// Stands for a client of a mail server.
#[derive(Default)]
struct Mail {
    sent: Mutex<Vec<String>>,
}

impl Mail {
    async fn connect() -> Result<Self> {
        Err("there is no mail server here".into())
    }

    fn send(&self, text: &str) {
        self.sent.lock().expect("nobody panics with it").push(text.to_owned());
    }
}

/// Declaring does nothing yet, so a test can take the very app that `main` runs, and change it.
fn app() -> (App, Handle<Mail>) {
    let app = App::new("reminder");
    let mail = app.resource("mail", (), |()| Mail::connect(), async |_| Ok(()));
    let _reminder = app.worker("reminder", &mail, async |mail, stop| {
        while stop.or(tokio::time::sleep(Duration::from_secs(3600))).await.is_some() {
            mail.send("drink some water");
        }
        Ok(())
    });
    (app, mail)
}

fn main() -> Exit {
    app().0.run()
}

#[cfg(test)]
mod tests {
    use super::*;

    // `start_paused`: time jumps to the next thing that anybody waits for. This test takes no time at all.
    #[tokio::test(start_paused = true)]
    async fn a_reminder_is_sent_every_hour() {
        let (app, mail) = app();
        app.replace(&mail, Mail::default());

        let running = app.start().await.expect("it starts");
        tokio::time::sleep(Duration::from_secs(3 * 3600 + 1)).await;
        let mail = running.get(&mail).expect("it is up");
        assert_eq!(mail.sent.lock().expect("nobody panics with it").len(), 3);

        // A lease that a test keeps would be named as leaked.
        drop(mail);
        let receipt = running.stop("end of the test").await;
        assert!(receipt.is_clean(), "{}", receipt.to_json());
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_mail_server_it_does_not_start() {
        let refused = app().0.start().await.err().expect("it fails");
        assert_eq!(refused.to_string(), "`mail` could not start: there is no mail server here");
    }
}
