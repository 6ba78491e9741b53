//! What a thread of this process is doing, from `/proc/self/task`.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::Read;

/// More than any of the files here holds.
const FILE_LIMIT: u64 = 4096;
/// The longest file name that a description repeats, in characters.
const TARGET_LIMIT: usize = 120;

/// The kernel's id of the calling thread, as `ps -L` and `/proc` show it. Ids are reused after a thread has ended.
pub fn current_thread_id() -> u64 {
    u64::try_from(rustix::thread::gettid().as_raw_nonzero().get()).expect("thread ids are positive")
}

/// What the thread with kernel id `thread` of this process is doing right now, as the second half of a sentence:
/// "running on a CPU", "sleeping in system call futex (waits for a lock or another thread)". `None` when there is no
/// such thread.
///
/// A look at one instant, for a report. It takes the kernel's word and needs no help from the thread.
pub fn describe(thread: u64) -> Option<String> {
    let state = state(&task_file(thread, "stat")?)?;
    let call = task_file(thread, "syscall").and_then(|text| Call::parse(&text));
    let mut text = state_words(state).to_owned();
    match call {
        _ if state == 'R' => {}
        Some(call) => call.tell(&mut text),
        None => tell_wait_channel(thread, &mut text),
    }
    Some(text)
}

/// Up to [`FILE_LIMIT`] bytes of one of the thread's files.
fn task_file(thread: u64, name: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let file = File::open(format!("/proc/self/task/{thread}/{name}")).ok()?;
    file.take(FILE_LIMIT).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// The state letter: the first field behind the thread's name, which is in parentheses and may hold any character.
fn state(stat: &str) -> Option<char> {
    stat.rsplit_once(')')?.1.trim_start().chars().next()
}

fn state_words(state: char) -> &'static str {
    match state {
        'R' => "running on a CPU",
        'S' | 'I' => "sleeping",
        'D' => "blocked without a way to interrupt it",
        'T' | 't' => "stopped by a signal or a debugger",
        'Z' | 'X' => "ended",
        _ => "in an unknown state",
    }
}

/// Where in the kernel it sleeps, when the system call is not shown.
fn tell_wait_channel(thread: u64, text: &mut String) {
    let channel = task_file(thread, "wchan").unwrap_or_default();
    let channel = channel.trim();
    if !channel.is_empty() && channel != "0" {
        let _ = write!(text, " in the kernel at {channel}");
    }
}

/// A system call in progress: its number and first argument.
#[derive(Debug, PartialEq, Eq)]
struct Call {
    number: u32,
    first: u64,
}

impl Call {
    /// Reads `/proc/.../syscall`: "running", or "-1 SP PC" outside a call, or "NUMBER 0xARG ... SP PC".
    fn parse(text: &str) -> Option<Self> {
        let mut fields = text.split_ascii_whitespace();
        let number = fields.next()?.parse().ok()?;
        let first = fields.next()?.strip_prefix("0x")?;
        Some(Self { number, first: u64::from_str_radix(first, 16).ok()? })
    }

    fn tell(&self, text: &mut String) {
        let known = CALLS.iter().find(|(number, ..)| *number == self.number);
        let _ = match known {
            None => write!(text, " in system call number {}", self.number),
            Some((_, name, About::Nothing)) => write!(text, " in system call {name}"),
            Some((_, name, About::Words(words))) => {
                write!(text, " in system call {name} ({words})")
            }
            Some((_, name, About::File)) => {
                write!(text, " in system call {name} on {}", file_words(self.first))
            }
        };
    }
}

/// "fd 5 (socket:\[1234\])". What the descriptor is now: it may have been replaced since the call began.
fn file_words(fd: u64) -> String {
    match fs::read_link(format!("/proc/self/fd/{fd}")) {
        Ok(target) => {
            let target: String = target.to_string_lossy().chars().take(TARGET_LIMIT).collect();
            format!("fd {fd} ({target})")
        }
        Err(_) => format!("fd {fd}"),
    }
}

/// What a description adds to a system call's name.
#[derive(Debug, Clone, Copy)]
enum About {
    Nothing,
    Words(&'static str),
    /// The first argument is a file descriptor.
    File,
}

const LOCK: About = About::Words("waits for a lock or another thread");
const TIME: About = About::Words("waits for time to pass");
const EVENTS: About = About::Words("waits for files or sockets");
const CHILD: About = About::Words("waits for a child process");
const SIGNAL: About = About::Words("waits for a signal");

/// Calls that a thread can be found in for long, by number.
#[cfg(target_arch = "x86_64")]
const CALLS: &[(u32, &str, About)] = &[
    (0, "read", About::File),
    (1, "write", About::File),
    (2, "open", About::Nothing),
    (3, "close", About::File),
    (7, "poll", EVENTS),
    (16, "ioctl", About::File),
    (17, "pread64", About::File),
    (18, "pwrite64", About::File),
    (19, "readv", About::File),
    (20, "writev", About::File),
    (23, "select", EVENTS),
    (24, "sched_yield", About::Nothing),
    (34, "pause", SIGNAL),
    (35, "nanosleep", TIME),
    (40, "sendfile", About::File),
    (42, "connect", About::File),
    (43, "accept", About::File),
    (44, "sendto", About::File),
    (45, "recvfrom", About::File),
    (46, "sendmsg", About::File),
    (47, "recvmsg", About::File),
    (61, "wait4", CHILD),
    (72, "fcntl", About::File),
    (73, "flock", About::File),
    (74, "fsync", About::File),
    (75, "fdatasync", About::File),
    (76, "truncate", About::Nothing),
    (77, "ftruncate", About::File),
    (82, "rename", About::Nothing),
    (87, "unlink", About::Nothing),
    (128, "rt_sigtimedwait", SIGNAL),
    (130, "rt_sigsuspend", SIGNAL),
    (162, "sync", About::Nothing),
    (202, "futex", LOCK),
    (217, "getdents64", About::File),
    (230, "clock_nanosleep", TIME),
    (232, "epoll_wait", EVENTS),
    (247, "waitid", CHILD),
    (257, "openat", About::Nothing),
    (270, "pselect6", EVENTS),
    (271, "ppoll", EVENTS),
    (275, "splice", About::File),
    (281, "epoll_pwait", EVENTS),
    (285, "fallocate", About::File),
    (288, "accept4", About::File),
    (299, "recvmmsg", About::File),
    (306, "syncfs", About::File),
    (426, "io_uring_enter", About::File),
    (441, "epoll_pwait2", EVENTS),
];

/// Calls that a thread can be found in for long, by number.
#[cfg(target_arch = "aarch64")]
const CALLS: &[(u32, &str, About)] = &[
    (22, "epoll_pwait", EVENTS),
    (25, "fcntl", About::File),
    (29, "ioctl", About::File),
    (32, "flock", About::File),
    (46, "ftruncate", About::File),
    (47, "fallocate", About::File),
    (56, "openat", About::Nothing),
    (57, "close", About::File),
    (61, "getdents64", About::File),
    (63, "read", About::File),
    (64, "write", About::File),
    (65, "readv", About::File),
    (66, "writev", About::File),
    (67, "pread64", About::File),
    (68, "pwrite64", About::File),
    (71, "sendfile", About::File),
    (72, "pselect6", EVENTS),
    (73, "ppoll", EVENTS),
    (76, "splice", About::File),
    (81, "sync", About::Nothing),
    (82, "fsync", About::File),
    (83, "fdatasync", About::File),
    (95, "waitid", CHILD),
    (98, "futex", LOCK),
    (101, "nanosleep", TIME),
    (115, "clock_nanosleep", TIME),
    (124, "sched_yield", About::Nothing),
    (133, "rt_sigsuspend", SIGNAL),
    (137, "rt_sigtimedwait", SIGNAL),
    (202, "accept", About::File),
    (203, "connect", About::File),
    (206, "sendto", About::File),
    (207, "recvfrom", About::File),
    (211, "sendmsg", About::File),
    (212, "recvmsg", About::File),
    (242, "accept4", About::File),
    (243, "recvmmsg", About::File),
    (260, "wait4", CHILD),
    (267, "syncfs", About::File),
    (426, "io_uring_enter", About::File),
    (441, "epoll_pwait2", EVENTS),
];

/// On other processors a description gives the number.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
const CALLS: &[(u32, &str, About)] = &[];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_state_is_found_behind_a_thread_name_with_parentheses_and_spaces() {
        assert_eq!(state("42 (a) R (b) S 1 2 3"), Some('S'));
        assert_eq!(state("no name at all"), None);
    }

    #[test]
    fn a_thread_outside_a_system_call_has_none() {
        assert_eq!(Call::parse("running"), None);
        assert_eq!(Call::parse("-1 0x7ffd 0x55aa"), None);
        assert_eq!(Call::parse(""), None);
        assert_eq!(Call::parse("202 0x10 0x80 0x0"), Some(Call { number: 202, first: 16 }));
    }

    #[test]
    fn an_unknown_system_call_is_told_by_its_number() {
        let mut text = "sleeping".to_owned();
        Call { number: 99_999, first: 0 }.tell(&mut text);
        assert_eq!(text, "sleeping in system call number 99999");
    }

    #[test]
    fn no_two_entries_describe_the_same_system_call() {
        assert!(CALLS.windows(2).all(|pair| pair[0].0 < pair[1].0), "sorted by number, each once");
    }
}
