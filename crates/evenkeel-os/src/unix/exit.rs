//! `_exit(2)`.

/// Ends the process at once with `code`: no destructor, no `atexit` hook, no flush of buffered output, and no wait for
/// any thread. What is not yet in the kernel is lost.
///
/// Safe to call from any thread in any state, also while another thread holds every lock there is.
pub fn exit_now(code: u8) -> ! {
    signal_hook::low_level::exit(i32::from(code))
}
