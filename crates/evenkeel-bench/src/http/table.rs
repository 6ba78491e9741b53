//! How it is shown: plain text, at most 80 columns.

use std::fmt::Write;

use crate::{
    load::Case,
    rounds::{Figures, Found},
    servers::Contender,
};

/// One case, a row for each contender; below it, the ratios of ours to the others.
pub(crate) fn compared(found: &Found) -> String {
    let mut text = format!("{}\n{}\n\n", found.case, found.heading);
    if found.case == Case::Idle {
        let _ = writeln!(text, "  {:<18}     bytes      evenkeel-http, App::http to it", "");
        for who in Contender::ALL {
            let ratios = ratios(found, who, |it| it.bytes);
            let _ = writeln!(text, "  {:<18}{:>10.0}{ratios:>36}", who.name(), found.median(who, |it| it.bytes));
        }
        text.push('\n');
        return text;
    }
    let _ = writeln!(text, "  {:44}   ours to it (then App::http):", "");
    let heading = ["req/s", "p99 us", "CPU us"].map(|heading| format!("{heading:>9}")).concat();
    let _ = writeln!(text, "  {:<18}{heading}   rate  p99  CPU  rate  p99  CPU", "");
    for who in Contender::ALL {
        let of = |figure: fn(&Figures) -> f64| found.median(who, figure);
        let mut line = format!("  {:<18}{:>9.0}", who.name(), of(|it| it.rate));
        let _ = write!(line, "{:>9.0}{:>9.2}", of(|it| it.p99), of(|it| it.cpu));
        if !is_ours(who) {
            for ours in [Contender::EvenkeelHttp, Contender::AppHttp] {
                let to = |figure: fn(&Figures) -> f64| found.ratio(ours, who, figure);
                let _ = write!(line, "  {:.2} {:.2} {:.2}", to(|it| it.rate), to(|it| it.p99), to(|it| it.cpu));
            }
        }
        let _ = writeln!(text, "{line}");
    }
    text.push('\n');
    text
}

fn is_ours(who: Contender) -> bool {
    matches!(who, Contender::EvenkeelHttp | Contender::AppHttp)
}

fn ratios(found: &Found, who: Contender, figure: fn(&Figures) -> f64) -> String {
    if is_ours(who) {
        return String::new();
    }
    let to = |ours| found.ratio(ours, who, figure);
    format!("{:.2}  {:.2}", to(Contender::EvenkeelHttp), to(Contender::AppHttp))
}
