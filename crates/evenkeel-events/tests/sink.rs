//! The log writer never holds a thread of the program, and counts what it loses.

mod samples;

use std::{
    collections::VecDeque,
    io::{self, ErrorKind, Write},
    sync::mpsc::{Receiver, Sender, channel},
    thread,
    time::{Duration, Instant},
};

use evenkeel_events::{Flushed, Sink, SinkOptions};
use samples::Kept;

const LONG: Duration = Duration::from_secs(20);

/// Blocks in the first write until its gate is opened or dropped; tells when it began.
struct Gated {
    began: Sender<()>,
    gate: Receiver<()>,
    kept: Kept,
}

impl Write for Gated {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let _ = self.began.send(());
        let _ = self.gate.recv();
        self.kept.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A sink whose writer is stuck in a write of `first`, the gate that frees it, and what it wrote.
fn stuck(options: SinkOptions) -> (Sink, Sender<()>, Kept) {
    let (began, has_begun) = channel();
    let (open, gate) = channel();
    let kept = Kept::default();
    let writer = Gated { began, gate, kept: kept.clone() };
    let sink = Sink::new(Box::new(writer), options);
    sink.write_line("first");
    has_begun.recv().expect("the writer gets the first line");
    (sink, open, kept)
}

fn small() -> SinkOptions {
    SinkOptions { max_bytes: 1 << 20, max_lines: 4 }
}

#[test]
fn a_reader_that_never_reads_holds_neither_a_line_nor_a_flush() {
    let (sink, _gate, _) = stuck(SinkOptions { max_bytes: 1_000, max_lines: 1_000 });
    let began = Instant::now();
    for _ in 0..100_000 {
        sink.write_line("a line of the log");
    }
    let flushed = sink.flush(Duration::from_millis(50));
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    assert_eq!(flushed, Flushed { written: false, lost: 100_001 }, "what waits is lost to who exits now");
    // 6 bytes of the first line, then 18 each.
    assert_eq!(sink.lost(), 100_000 - (1_000 - 6) / 18, "the bytes are bounded");
}

#[test]
fn lines_come_out_in_order_and_the_missing_ones_are_told_of_in_their_place() {
    let (sink, gate, kept) = stuck(small());
    for number in 1..=40 {
        sink.write_line(format!("line {number}"));
    }
    assert_eq!(sink.lost(), 37);
    drop(gate);
    assert_eq!(sink.flush(LONG), Flushed { written: true, lost: 37 });
    sink.write_line("later");
    assert!(sink.flush(LONG).written);
    assert_eq!(
        kept.text(),
        "first\nline 1\nline 2\nline 3\n37 log lines were dropped: the reader is too slow\nlater\n"
    );
}

#[test]
fn a_line_longer_than_the_queue_is_dropped_and_counted() {
    let kept = Kept::default();
    let sink = Sink::new(Box::new(kept.clone()), SinkOptions { max_bytes: 10, max_lines: 10 });
    sink.write_line("this line is too long");
    sink.write_line("short\n");
    let flushed = sink.flush(LONG);
    assert_eq!(flushed, Flushed { written: true, lost: 1 });
    assert!(kept.text().contains("1 log line was dropped"), "{}", kept.text());
    assert!(kept.text().ends_with("short\n"));
}

#[test]
fn lines_of_many_threads_stay_whole_and_in_the_order_of_each_thread() {
    let kept = Kept::default();
    let sink = Sink::new(Box::new(kept.clone()), SinkOptions::default());
    thread::scope(|scope| {
        for thread in 0..4 {
            let sink = sink.clone();
            scope.spawn(move || {
                for number in 0..500 {
                    sink.write_line(format!("{thread} {number}"));
                }
            });
        }
    });
    assert_eq!(sink.flush(LONG), Flushed { written: true, lost: 0 });
    for thread in 0..4 {
        let text = kept.text();
        let numbers: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix(&format!("{thread} "))).collect();
        assert_eq!(numbers, (0..500).map(|number| number.to_string()).collect::<Vec<_>>());
    }
}

#[test]
fn waiting_lines_are_written_together() {
    let (sink, gate, kept) = stuck(SinkOptions::default());
    for number in 0..1_000 {
        sink.write_line(format!("line {number}"));
    }
    // One write for the first line, which is stuck; one more must take all thousand.
    gate.send(()).unwrap();
    gate.send(()).unwrap();
    assert!(sink.flush(LONG).written);
    assert_eq!(kept.text().lines().count(), 1_001);
}

#[test]
fn dropping_the_last_handle_writes_what_is_left_without_waiting_for_it() {
    let (sink, gate, kept) = stuck(SinkOptions::default());
    sink.write_line("last words");
    drop(sink);
    gate.send(()).unwrap();
    drop(gate);
    let deadline = Instant::now() + LONG;
    while kept.text() != "first\nlast words\n" {
        assert!(Instant::now() < deadline, "{}", kept.text());
        thread::yield_now();
    }
}

/// Answers each write as told, then takes everything. `Ok` limits the bytes taken.
struct Scripted {
    script: VecDeque<Result<usize, ErrorKind>>,
    kept: Kept,
}

impl Write for Scripted {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.script.pop_front() {
            None => self.kept.write(bytes),
            Some(Ok(limit)) => self.kept.write(&bytes[..bytes.len().min(limit)]),
            Some(Err(kind)) => Err(kind.into()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn scripted(script: &[Result<usize, ErrorKind>]) -> (Sink, Kept) {
    let kept = Kept::default();
    let writer = Scripted { script: script.iter().copied().collect(), kept: kept.clone() };
    (Sink::new(Box::new(writer), SinkOptions::default()), kept)
}

#[test]
fn a_broken_pipe_loses_every_later_line_at_once() {
    let (sink, kept) = scripted(&[Err(ErrorKind::BrokenPipe)]);
    sink.write_line("nobody reads this");
    assert_eq!(sink.flush(LONG), Flushed { written: false, lost: 1 });
    sink.write_line("nor this");
    assert_eq!(sink.lost(), 2);
    assert_eq!(sink.flush(LONG).lost, 2);
    assert_eq!(kept.text(), "");
}

#[test]
fn a_full_disk_loses_lines_until_there_is_room_and_says_so() {
    let (sink, kept) = scripted(&[Err(ErrorKind::StorageFull)]);
    sink.write_line("lost");
    assert_eq!(sink.flush(LONG), Flushed { written: false, lost: 1 });
    sink.write_line("kept");
    assert_eq!(sink.flush(LONG), Flushed { written: true, lost: 1 });
    assert_eq!(kept.text(), "1 log line was dropped: writing failed: no storage space\nkept\n");
}

#[test]
fn a_line_cut_in_the_middle_does_not_swallow_the_next_one() {
    let (sink, kept) = scripted(&[Ok(3), Err(ErrorKind::StorageFull)]);
    sink.write_line("interrupted");
    assert_eq!(sink.flush(LONG).lost, 1);
    sink.write_line("whole");
    assert!(sink.flush(LONG).written);
    assert_eq!(kept.text(), "int\n1 log line was dropped: writing failed: no storage space\nwhole\n");
}

#[test]
fn a_descriptor_that_is_not_ready_is_tried_again() {
    let (sink, kept) =
        scripted(&[Err(ErrorKind::WouldBlock), Ok(2), Err(ErrorKind::Interrupted), Err(ErrorKind::WouldBlock)]);
    sink.write_line("patience");
    assert_eq!(sink.flush(LONG), Flushed { written: true, lost: 0 });
    assert_eq!(kept.text(), "patience\n");
}

/// Panics in every write.
struct Panicking;

impl Write for Panicking {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        panic!("a writer of a test panics on purpose")
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_panicking_writer_loses_lines_and_nothing_else() {
    let sink = Sink::new(Box::new(Panicking), SinkOptions::default());
    sink.write_line("lost");
    assert_eq!(sink.flush(LONG), Flushed { written: false, lost: 1 });
    sink.write_line("lost too");
    assert_eq!(sink.lost(), 2);
}
