//! What is promised of serving: no dearer than what people use in its place, within three parts of a hundred.

use crate::{
    aim::{Aim, Bar},
    load::Case,
    rounds::{Figures, Found},
    servers::Contender,
};

const BAR: f64 = 0.97;
const PEERS: [Contender; 2] = [Contender::AxumServe, Contender::Hyper];
const OURS: [Contender; 2] = [Contender::EvenkeelHttp, Contender::AppHttp];

pub(crate) fn of(found: &Found) -> Vec<Aim> {
    let mut aims = Vec::new();
    for who in OURS {
        let mut aim = |what: &str, figure: fn(&Figures) -> f64, is_worst: fn(f64, f64) -> f64, bar: Bar| {
            let ratio = |to| found.ratio(who, to, figure);
            let text = format!("{}, {}: {what}", who.name(), short(found.case));
            aims.push(Aim::new(text, is_worst(ratio(PEERS[0]), ratio(PEERS[1])), bar, "x"));
        };
        if found.case == Case::Idle {
            aim("bytes", |it| it.bytes, f64::max, Bar::AtMost(1.0 / BAR));
        } else {
            aim("requests/s", |it| it.rate, f64::min, Bar::AtLeast(BAR));
            aim("p99", |it| it.p99, f64::max, Bar::AtMost(1.0 / BAR));
            aim("CPU", |it| it.cpu, f64::max, Bar::AtMost(1.0 / BAR));
        }
    }
    aims
}

const fn short(case: Case) -> &'static str {
    match case {
        Case::KeepAlive => "kept GET",
        Case::New => "new GET",
        Case::Post => "POST",
        Case::Http2 => "HTTP/2",
        Case::Idle => "at rest",
    }
}
