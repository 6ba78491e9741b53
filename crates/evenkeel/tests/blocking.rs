//! Blocking work, from outside: every wait ends by an interrupt, none is lost, and what does not answer is left behind.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use evenkeel::{
    App, Backoff, Explain, Interrupt, Interrupted, Receipt, Restart, Result, Row,
    blocking::{Monitor, Unsent, Why, channel},
};
use tokio::sync::{mpsc as tasks, oneshot};

/// Far longer than any test: who waits for it waits for ever.
const EVER: Duration = Duration::from_secs(3600);

/// The receipt of an app with this one piece of work, stopped once the work has said that it is about to wait.
async fn stopped(work: impl FnOnce(Interrupt, oneshot::Sender<()>) -> Result + Send + 'static) -> Receipt {
    let app = App::new("test");
    let (say, said) = oneshot::channel();
    let _work = app.once().blocking("work", (), move |(), interrupt| work(interrupt, say));
    let running = app.start().await.expect("starts");
    said.await.expect("the work gets as far as its wait");
    running.stop("test").await
}

/// The same for work that is no more than one wait: the interrupt must end it, and that is a clean end.
async fn ends(wait: impl FnOnce(&Interrupt) -> Result + Send + 'static) {
    let receipt = stopped(move |interrupt, about_to_wait| {
        about_to_wait.send(()).expect("the test listens");
        wait(&interrupt)
    })
    .await;
    clean(&receipt);
}

/// The same, with the interrupt there before the wait begins.
async fn ends_at_once(wait: impl FnOnce(&Interrupt) -> Result + Send + 'static) {
    let receipt = stopped(move |interrupt, busy| {
        busy.send(()).expect("the test listens");
        while !interrupt.is_requested() {
            std::hint::spin_loop();
        }
        let began = Instant::now();
        let result = wait(&interrupt);
        assert!(began.elapsed() < Duration::from_secs(2), "the interrupt was lost");
        result
    })
    .await;
    clean(&receipt);
}

fn clean(receipt: &Receipt) {
    assert_eq!((receipt.exit_code, receipt.outcome.as_str()), (0, "clean"), "{}", receipt.to_json());
    for row in &receipt.components {
        assert_eq!(row.state, "released", "{}", receipt.to_json());
        assert_eq!((row.ignored_interrupts, row.leaked_tasks, row.aborted, row.drained), (0, 0, 0, 0));
    }
}

fn row<'a>(receipt: &'a Receipt, name: &str) -> &'a Row {
    receipt.components.iter().find(|row| row.name == name).expect("a row for each component")
}

/// Two ends of a TCP connection.
fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("binds");
    let client = TcpStream::connect(listener.local_addr().expect("bound")).expect("connects");
    (client, listener.accept().expect("accepts").0)
}

type Wait = fn(&Interrupt) -> Result;

fn sleep(interrupt: &Interrupt) -> Result {
    Ok(interrupt.sleep(EVER)?)
}

fn sleep_beyond_all_clocks(interrupt: &Interrupt) -> Result {
    Ok(interrupt.sleep(Duration::MAX)?)
}

fn park(interrupt: &Interrupt) -> Result {
    Ok(interrupt.park()?)
}

fn park_timeout(interrupt: &Interrupt) -> Result {
    Ok(interrupt.park_timeout(EVER).map(drop)?)
}

fn monitor(interrupt: &Interrupt) -> Result {
    Ok(Monitor::new(0).wait_while(interrupt, |n| *n == 0).map(drop)?)
}

fn recv(interrupt: &Interrupt) -> Result {
    let (_sender, items) = channel::<u32>(1);
    Ok(items.recv(interrupt).map(drop)?)
}

fn send(interrupt: &Interrupt) -> Result {
    let (items, _receiver) = channel(1);
    items.try_send(1).expect("there is room");
    Ok(items.send(interrupt, 2)?)
}

fn read_socket(interrupt: &Interrupt) -> Result {
    let (_peer, mut stream) = pair();
    Ok(interrupt.read(&mut stream, &mut [0; 16]).map(drop)?)
}

fn read_pipe(interrupt: &Interrupt) -> Result {
    let (mut reader, _writer) = std::io::pipe()?;
    interrupt.read(&mut reader, &mut [0; 16]).map(drop).context("cannot read the pipe")
}

fn write_pipe(interrupt: &Interrupt) -> Result {
    let (_reader, mut writer) = std::io::pipe()?;
    loop {
        // A page at a time: the wait promises room for no more.
        interrupt.writable(&writer)?;
        writer.write_all(&[0; 4096])?;
    }
}

fn accept(interrupt: &Interrupt) -> Result {
    Ok(interrupt.accept(&TcpListener::bind("127.0.0.1:0")?).map(drop)?)
}

fn foreign_read(interrupt: &Interrupt) -> Result {
    let (_peer, mut stream) = pair();
    let _guard = interrupt.break_on_interrupt(&stream)?;
    assert_eq!(stream.read(&mut [0; 16])?, 0, "the broken socket is at its end");
    Ok(interrupt.check()?)
}

fn foreign_accept(interrupt: &Interrupt) -> Result {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let _guard = interrupt.break_on_interrupt(&listener)?;
    listener.accept().expect_err("the broken listener accepts nothing");
    Ok(interrupt.check()?)
}

const WAITS: [Wait; 13] = [
    sleep,
    sleep_beyond_all_clocks,
    park,
    park_timeout,
    monitor,
    recv,
    send,
    read_socket,
    read_pipe,
    write_pipe,
    accept,
    foreign_read,
    foreign_accept,
];

#[tokio::test]
async fn an_interrupt_ends_every_kind_of_wait_r3_3a() {
    for wait in WAITS {
        ends(wait).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupt_ends_every_kind_of_wait_on_a_runtime_of_many_threads_r3_3a() {
    for wait in WAITS {
        ends(wait).await;
    }
}

#[tokio::test]
async fn an_interrupt_that_comes_while_the_work_is_busy_ends_its_next_wait_r3_3b() {
    for wait in WAITS {
        ends_at_once(wait).await;
    }
}

#[tokio::test]
async fn items_in_the_channel_come_out_before_the_interrupt_is_reported_r3_3b() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let taken = seen.clone();
    let receipt = stopped(move |interrupt, ready| {
        let (sender, items) = channel(8);
        for n in 0..3 {
            sender.send(&interrupt, n)?;
        }
        ready.send(()).expect("the test listens");
        while !interrupt.is_requested() {
            std::hint::spin_loop();
        }
        while let Some(n) = items.recv(&interrupt)? {
            taken.lock().expect("whole").push(n);
        }
        Ok(())
    })
    .await;
    clean(&receipt);
    assert_eq!(*seen.lock().expect("whole"), [0, 1, 2]);
}

#[tokio::test]
async fn an_interrupted_send_gives_the_item_back_r3_3b() {
    let receipt = stopped(|interrupt, ready| {
        let (sender, _receiver) = channel(1);
        sender.send(&interrupt, "first")?;
        ready.send(()).expect("the test listens");
        let Unsent { item, why } = sender.send(&interrupt, "second").expect_err("it is full");
        assert_eq!((item, why), ("second", Why::Interrupted));
        Ok(())
    })
    .await;
    clean(&receipt);
}

#[tokio::test]
async fn bytes_that_came_before_the_interrupt_stay_in_the_kernel_r3_3b() {
    let receipt = stopped(|interrupt, ready| {
        let (mut reader, mut writer) = std::io::pipe()?;
        writer.write_all(b"kept")?;
        ready.send(()).expect("the test listens");
        while !interrupt.is_requested() {
            std::hint::spin_loop();
        }
        let error = interrupt.read(&mut reader, &mut [0; 4]).expect_err("interrupted");
        assert!(Interrupted::is_in(&error));
        assert_ne!(error.kind(), std::io::ErrorKind::Interrupted, "the standard library would try again for ever");
        let mut bytes = [0; 4];
        reader.read_exact(&mut bytes)?;
        assert_eq!(&bytes, b"kept");
        Ok(())
    })
    .await;
    clean(&receipt);
}

#[tokio::test]
async fn waits_end_by_what_they_wait_for_as_well_r3_3a() {
    let monitor = Arc::new(Monitor::new(0));
    let (requests, work) = channel(1);
    let (parkers, mut parked) = tasks::unbounded_channel();
    let app = App::new("test");
    let changed = monitor.clone();
    let job = app
        .once()
        .blocking("job", (), move |(), interrupt| {
            parkers.send(interrupt.unparker())?;
            interrupt.park()?;
            assert!(!interrupt.park_timeout(Duration::from_millis(1))?, "one unpark ends one park");
            interrupt.sleep(Duration::from_millis(1))?;
            assert_eq!(*changed.wait_while(&interrupt, |n| *n < 2)?, 2);
            assert_eq!(work.recv(&interrupt)?, Some(1));
            assert_eq!(work.recv(&interrupt)?, Some(2));
            assert_eq!(work.recv(&interrupt)?, None, "its senders are gone");
            let (mut client, mut server) = pair();
            client.write_all(b"ping")?;
            assert_eq!(interrupt.read(&mut server, &mut [0; 16])?, 4);
            drop(client);
            assert_eq!(interrupt.read(&mut server, &mut [0; 16])?, 0);
            let listener = TcpListener::bind("127.0.0.1:0")?;
            let _client = TcpStream::connect(listener.local_addr()?)?;
            interrupt.accept(&listener)?;
            Ok(())
        })
        .finite();
    let _: evenkeel::Handle<(), _> = job;
    let mut running = app.start().await.expect("starts");
    parked.recv().await.expect("it parks").unpark();
    for _ in 0..2 {
        *monitor.lock() += 1;
        monitor.notify_one();
    }
    requests.send_async(1).await.expect("received");
    requests.send_async(2).await.expect("received");
    drop(requests);
    let receipt = running.ended().await;
    assert_eq!(receipt.exit_code, 0, "{}", receipt.to_json());
}

#[tokio::test]
async fn a_full_channel_holds_a_task_up_without_blocking_its_thread_r3_3a() {
    let (sender, items) = channel(1);
    sender.send_async(1).await.expect("there is room");
    let second = tokio::spawn({
        let sender = sender.clone();
        async move { sender.send_async(2).await }
    });
    let receipt = stopped(move |interrupt, done| {
        assert_eq!(items.recv(&interrupt)?, Some(1));
        assert_eq!(items.recv(&interrupt)?, Some(2));
        done.send(()).expect("the test listens");
        Ok(interrupt.park()?)
    })
    .await;
    clean(&receipt);
    second.await.expect("no panic").expect("sent");
    let unsent = sender.send_async(3).await.expect_err("its receiver is gone");
    assert_eq!((unsent.item, unsent.why), (3, Why::Closed));
}

#[tokio::test]
async fn a_socket_whose_guard_was_dropped_is_left_alone_r3_3a() {
    let (mut peer, mut stream) = pair();
    let receipt = stopped(move |interrupt, ready| {
        drop(interrupt.break_on_interrupt(&stream)?);
        ready.send(()).expect("the test listens");
        interrupt.park().expect_err("it is told to stop");
        stream.write_all(b"bye")?;
        Ok(())
    })
    .await;
    clean(&receipt);
    let mut text = String::new();
    peer.read_to_string(&mut text).expect("the socket was not broken, and is closed by now");
    assert_eq!(text, "bye");
}

#[tokio::test]
async fn work_that_never_answers_is_left_behind_and_named_r3_3c() {
    let app = App::new("test").budget(Duration::from_secs(5));
    let db = app.resource("db", (), async |()| Ok(()), async |()| Ok(()));
    let _deaf = app
        .blocking("deaf", (), |(), _| {
            std::thread::sleep(EVER);
            Ok(())
        })
        .stop_within(Duration::from_millis(100));
    let _api = app.worker("api", &db, async |_, stop| {
        stop.requested().await;
        Ok(())
    });
    let running = app.start().await.expect("starts");
    let receipt = running.stop("test").await;
    let deaf = row(&receipt, "deaf");
    assert_eq!(deaf.state, "abandoned");
    assert_eq!((deaf.ignored_interrupts, deaf.leaked_tasks), (1, 1));
    let doing = deaf.doing.as_deref().expect("what it was doing");
    assert!(doing.contains("its own thread") && doing.contains("system call"), "{doing}");
    assert!(doing.contains("nanosleep"), "{doing}");
    assert_eq!(receipt.culprits, ["deaf"]);
    assert_eq!(receipt.exit_code, 12);
    assert_eq!((row(&receipt, "db").state.as_str(), row(&receipt, "api").state.as_str()), ("released", "released"));
    assert!(receipt.used_ms < 4000.0, "{}", receipt.used_ms);
}

#[tokio::test]
async fn work_that_never_answers_cannot_outlast_the_budget_r3_3c() {
    let app = App::new("test").budget(Duration::from_millis(500));
    let _deaf = app.blocking("deaf", (), |(), _| {
        std::thread::sleep(EVER);
        Ok(())
    });
    let running = app.start().await.expect("starts");
    let receipt = running.stop("test").await;
    let deaf = row(&receipt, "deaf");
    assert_eq!((deaf.state.as_str(), deaf.ignored_interrupts), ("abandoned", 1));
    assert!(receipt.used_ms < 2000.0, "{}", receipt.used_ms);
}

#[tokio::test]
async fn a_lease_of_a_thread_that_was_left_behind_is_named_r3_3c() {
    let app = App::new("test").budget(Duration::from_secs(5));
    let db = app.resource("db", (), async |()| Ok(7), async |_| Ok(())).stop_within(Duration::from_millis(300));
    let _deaf = app
        .blocking("deaf", &db, |db, _| {
            std::thread::sleep(EVER);
            drop(db);
            Ok(())
        })
        .stop_within(Duration::from_millis(100));
    let running = app.start().await.expect("starts");
    let receipt = running.stop("test").await;
    let leases = &row(&receipt, "db").leaked_leases;
    assert_eq!(leases.len(), 1, "{}", receipt.to_json());
    assert!(leases[0].contains("`deaf`"), "{leases:?}");
}

/// The receipt of an app that ends by itself because of what this work does.
async fn failed(work: impl FnOnce(Interrupt) -> Result + Send + 'static) -> Receipt {
    let app = App::new("test");
    let _work = app.once().blocking("work", (), move |(), interrupt| work(interrupt));
    let mut running = app.start().await.expect("starts");
    running.ended().await
}

#[tokio::test]
async fn a_panic_of_the_work_is_a_failure_of_its_component_r3_3a() {
    let receipt = failed(|_| panic!("no disk")).await;
    assert_eq!((receipt.outcome.as_str(), receipt.exit_code), ("component failed", 11));
    assert_eq!(receipt.root_cause, ["panicked: no disk"]);
}

#[tokio::test]
async fn an_error_of_the_work_is_a_failure_with_its_chain_r3_3a() {
    let receipt = failed(|_| Err::<(), _>("no disk").context("cannot scan")).await;
    assert_eq!((receipt.outcome.as_str(), receipt.exit_code), ("component failed", 11));
    assert_eq!(receipt.root_cause, ["cannot scan", "no disk"]);
}

#[tokio::test]
async fn work_that_returns_before_its_stop_has_failed_r3_3a() {
    let receipt = failed(|_| Ok(())).await;
    assert_eq!(receipt.outcome, "component failed");
    assert!(receipt.root_cause[0].contains("returned `Ok`"), "{:?}", receipt.root_cause);
}

#[tokio::test]
async fn an_interrupt_that_nobody_asked_for_is_no_excuse_r3_3b() {
    let receipt = failed(|_| Err(Interrupted.into())).await;
    assert_eq!(receipt.root_cause, ["interrupted by a stop"]);
}

#[tokio::test]
async fn another_error_after_the_interrupt_is_a_failure_r3_3b() {
    let receipt = stopped(|interrupt, ready| {
        ready.send(()).expect("the test listens");
        interrupt.park().expect_err("it is told to stop");
        Err("the last write failed".into())
    })
    .await;
    assert_eq!(receipt.exit_code, 12);
    assert_eq!(row(&receipt, "work").error.as_deref(), Some("the last write failed"));
}

#[tokio::test]
async fn blocking_work_can_be_started_again_r3_3a() {
    let (say, mut said) = tasks::unbounded_channel();
    let app = App::new("test");
    let starts = Arc::new(AtomicU32::new(0));
    let backoff = Backoff { first: Duration::from_millis(1), ..Backoff::default() };
    let _work = app
        .blocking("work", (), move |(), interrupt| {
            if starts.fetch_add(1, Ordering::Relaxed) < 2 {
                return Err("not yet".into());
            }
            say.send(std::thread::current().name().map(str::to_owned))?;
            Ok(interrupt.park()?)
        })
        .restart(Restart { backoff, ..Restart::default() });
    let running = app.start().await.expect("starts");
    let name = said.recv().await.expect("the third start holds");
    assert_eq!(name.as_deref(), Some("work"), "the thread has the component's name");
    let receipt = running.stop("test").await;
    assert_eq!((receipt.exit_code, row(&receipt, "work").restarts), (0, 2), "{}", receipt.to_json());
}

#[tokio::test]
async fn leases_come_back_from_the_thread_before_their_owner_closes_r3_3a() {
    let ended = Arc::new(AtomicBool::new(false));
    let app = App::new("test");
    let before = ended.clone();
    let db = app.resource(
        "db",
        (),
        async |()| Ok(7),
        async move |_| {
            assert!(before.load(Ordering::SeqCst), "the owner closed while the thread still ran");
            Ok(())
        },
    );
    let _work = app.blocking("work", &db, move |db, interrupt| {
        interrupt.park().expect_err("it is told to stop");
        std::thread::sleep(Duration::from_millis(50)); // its last piece of work takes a while
        assert_eq!(*db, 7);
        ended.store(true, Ordering::SeqCst);
        Ok(())
    });
    let running = app.start().await.expect("starts");
    clean(&running.stop("test").await);
}

#[tokio::test]
async fn a_stop_during_the_start_interrupts_the_thread_r3_3a() {
    let (say, said) = oneshot::channel();
    let app = App::new("test");
    let early = app.once().blocking("early", (), move |(), interrupt| {
        say.send(()).expect("the test listens");
        Ok(interrupt.park()?)
    });
    let _late = app.once().resource("late", &early, async |_| std::future::pending().await, async |()| Ok(()));
    let receipt = app.run_until(async { said.await.expect("it runs") }).await.expect("a wish is no failure");
    assert_eq!((receipt.exit_code, row(&receipt, "early").state.as_str()), (0, "released"), "{}", receipt.to_json());
}

#[tokio::test]
async fn a_blocking_intake_waits_for_the_gate_r3_3a() {
    let (parkers, mut parked) = tasks::unbounded_channel();
    let (take, mut taken) = tasks::unbounded_channel();
    let app = App::new("test");
    let _work = app
        .blocking("work", (), move |(), interrupt| {
            interrupt.wait_open()?;
            loop {
                parkers.send(interrupt.unparker())?;
                interrupt.park()?;
                interrupt.wait_open()?;
                let _work = interrupt.work();
                take.send(())?;
            }
        })
        .intake();
    let running = app.start().await.expect("starts");
    parked.recv().await.expect("the gate is open").unpark();
    taken.recv().await.expect("it takes in");
    let parker = parked.recv().await.expect("it waits for more");
    assert!(running.pause().await);
    parker.unpark();
    let nothing = tokio::time::timeout(Duration::from_millis(50), taken.recv()).await;
    assert!(nothing.is_err(), "nothing is taken in while paused");
    assert!(running.resume().await);
    taken.recv().await.expect("it takes in again");
    assert_eq!(running.stop("test").await.exit_code, 0);
}
