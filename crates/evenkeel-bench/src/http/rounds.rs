//! Turns, rounds, medians, ratios.

use std::{io, time::Duration};

use crate::{
    child::{self, Server},
    load::{self, Case},
    servers::Contender,
};

/// How often, and how long.
#[derive(Clone, Copy)]
pub(crate) struct Turns {
    pub(crate) rounds: u16,
    pub(crate) slice: Duration,
}

/// What one contender came to in one turn: requests a second, p99 and CPU time in microseconds, bytes.
#[derive(Clone, Copy, Default)]
pub(crate) struct Figures {
    pub(crate) rate: f64,
    pub(crate) p99: f64,
    pub(crate) cpu: f64,
    pub(crate) bytes: f64,
}

/// All turns of a case, by contender, in the order of [`Contender::ALL`].
pub(crate) struct Found {
    pub(crate) case: Case,
    pub(crate) heading: String,
    turns: Vec<Vec<Figures>>,
}

impl Found {
    /// The median of one figure of a contender.
    pub(crate) fn median(&self, who: Contender, figure: fn(&Figures) -> f64) -> f64 {
        median(self.of(who).iter().map(figure))
    }

    /// One contender's figure to another's, as the median over the rounds.
    pub(crate) fn ratio(&self, who: Contender, to: Contender, figure: fn(&Figures) -> f64) -> f64 {
        median(self.of(who).iter().zip(self.of(to)).map(|(mine, theirs)| figure(mine) / figure(theirs)))
    }

    fn of(&self, who: Contender) -> &[Figures] {
        let index = Contender::ALL.iter().position(|other| *other == who).expect("all are among all");
        &self.turns[index]
    }
}

/// Lets all contenders serve in turn.
///
/// # Errors
/// A server does not start, or its books cannot be read.
pub(crate) fn measure(case: Case, turns: Turns) -> io::Result<Found> {
    child::prepare_load();
    let servers: Vec<Server> = Contender::ALL.into_iter().map(Server::start).collect::<io::Result<_>>()?;
    servers.iter().try_for_each(|server| turn(case, server, turns.slice).map(drop))?;
    let mut figures: Vec<Vec<Figures>> = servers.iter().map(|_| Vec::new()).collect();
    for round in 0..turns.rounds {
        let mut order: Vec<usize> = (0..servers.len()).collect();
        // Everybody is first, and in each place, equally often; and the neighbours change.
        order.rotate_left(usize::from(round / 2) % servers.len());
        if round % 2 == 1 {
            order.reverse();
        }
        for index in order {
            figures[index].push(turn(case, &servers[index], turns.slice)?);
        }
    }
    let heading = format!("medians of {} rounds in turn, {} ms each", turns.rounds, turns.slice.as_millis());
    Ok(Found { case, heading, turns: figures })
}

fn turn(case: Case, server: &Server, length: Duration) -> io::Result<Figures> {
    let (mut before, mut after) = (Ok(Duration::ZERO), Ok(Duration::ZERO));
    let slice = load::timed(case, server.addr, length, || before = server.cpu(), || after = server.cpu());
    let requests = slice.requests as f64;
    let cpu = (after? - before?).as_secs_f64() * 1e6 / requests;
    let rate = requests / slice.took.as_secs_f64();
    Ok(Figures { rate, cpu, p99: slice.p99().as_secs_f64() * 1e6, bytes: 0.0 })
}

/// How much memory a connection at rest takes: a fresh process for each contender, and the difference.
///
/// # Errors
/// A server does not start, does not take so many connections, or its books cannot be read.
pub(crate) fn memory(count: u32) -> io::Result<Found> {
    child::prepare_load();
    let one = |contender| -> io::Result<Vec<Figures>> {
        let server = Server::start(contender)?;
        drop(load::idle(server.addr, 8)?);
        let before = server.memory()?;
        let held = load::idle(server.addr, count)?;
        let bytes = server.memory()?.saturating_sub(before) as f64 / f64::from(count);
        drop(held);
        Ok(vec![Figures { bytes, ..Figures::default() }])
    };
    let turns = Contender::ALL.into_iter().map(one).collect::<io::Result<_>>()?;
    Ok(Found { case: Case::Idle, heading: format!("{count} kept connections, one request behind each"), turns })
}

fn median(figures: impl Iterator<Item = f64>) -> f64 {
    let mut all: Vec<f64> = figures.collect();
    all.sort_by(f64::total_cmp);
    match all.len() {
        0 => f64::NAN,
        many if many % 2 == 1 => all[many / 2],
        many => f64::midpoint(all[many / 2 - 1], all[many / 2]),
    }
}
