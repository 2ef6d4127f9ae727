//! The optional process 1 in front of the program (docker's --init): forwards signals, buries orphans, ends as the program ends.
//!
//! What must stay true: it keeps one capability (KILL); it never outlives the program; the end of the launch is told by the program's side alone.

use std::os::fd::{AsFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::Pid;
use shipway_sys::process::{self, Cloned, SingleThreaded};
use shipway_sys::{caps, title};

use super::at;
use crate::message::{Failure, Step};

const CAP_KILL: u64 = 1 << 5;
/// Signals that mean a fault of this very process, or that cannot be caught.
const NOT_FORWARDED: [i32; 6] = [4, 7, 8, 9, 11, 19];

/// As ps shows Docker's; people and health scripts look for it.
const NAME: &str = "docker-init";
const PATH: &str = "/sbin/docker-init";

/// Splits off the process that will become the program `args`, and returns in it. The other one stays here, lets go of `line`, and never returns.
/// `stat` is what the kernel tells about this process.
pub(super) fn stand_in_front(line: &mut Option<OwnedFd>, args: &[String], stat: &str, one_thread: SingleThreaded) -> Result<(), Failure> {
    // Blocked before the split, so that no signal falls between; the program's side unblocks them with everything else.
    let forwarded: Vec<i32> = (1..=64).filter(|number| !NOT_FORWARDED.contains(number)).collect();
    let signals = process::signals_as_file(&forwarded).map_err(at(Step::Clone))?;
    match process::clone_process(one_thread, 0, None).map_err(at(Step::Clone))? {
        Cloned::Child => Ok(()),
        Cloned::Parent(program) => {
            // The monitor hears the last end of the line as "executed".
            *line = None;
            let shown: Vec<&str> = [PATH, "--"].into_iter().chain(args.iter().map(String::as_str)).collect();
            // How it looks is no reason not to run.
            let _ = title::show_as(NAME, &shown, stat);
            let _ = caps::bound_to(CAP_KILL);
            let _ = caps::set(CAP_KILL, CAP_KILL, 0);
            serve(program, &signals)
        }
    }
}

fn serve(program: Pid, signals: &OwnedFd) -> ! {
    loop {
        let _ = poll(&mut [PollFd::new(signals, PollFlags::IN)], None);
        while let Some(number) = process::next_signal(signals.as_fd()) {
            if number == rustix::process::Signal::CHILD.as_raw() {
                bury(program);
            } else {
                // Gone already: the next turn buries it.
                let _ = process::send_signal(program, number);
            }
        }
    }
}

fn bury(program: Pid) {
    while let Ok(Some((pid, ended))) = process::reap_any() {
        if pid == program {
            // Process 1 cannot die of a signal it sends itself; 128 + number says it as shells do.
            process::leave_now(ended.code());
        }
    }
}
