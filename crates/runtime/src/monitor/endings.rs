//! Ends: of programs, of the container, of orphans.
//!
//! What must stay true: output is taken to its end before the end is told; the end is written down before it is told.

use std::time::{Duration, Instant as Moment};

use shipway_sys::process;

use super::connection::Role;
use super::serve::Monitor;
use super::{Parked, reap_all, record};
use crate::clock::Instant;
use crate::message::{Answer, Ended, Note};

/// How long clients may take to fetch the last output after the end.
const FAREWELL: Duration = Duration::from_secs(10);
/// Most bytes taken from one handle when its program has ended, against a survivor that writes for ever.
const LAST_WORDS: usize = 4 << 20;

impl Monitor {
    pub(super) fn bury(&mut self, parked: &Parked) {
        for (pid, how) in reap_all() {
            let number = self.sessions.iter().find(|(_, session)| session.pid == Some(pid)).map(|(number, _)| *number);
            match number {
                Some(number) => self.session_ended(number, how, parked),
                None if pid.as_raw_pid() == self.subject.state.seat => self.seat_gone = true,
                None if self.sessions.values_mut().filter_map(|session| session.log.as_mut()).any(|log| log.bury(pid)) => {}
                // A program as short as `true` may end before the seat's word about its clone is read.
                None if self.ordered.is_waiting() => self.unclaimed.push((pid, how)),
                // An orphan that we have inherited.
                None => {}
            }
        }
    }

    /// Looks whether the program just cloned has ended already.
    pub(super) fn claim(&mut self, number: u32, parked: &Parked) {
        let pid = self.sessions.get(&number).and_then(|session| session.pid);
        let found = self.unclaimed.iter().position(|(unclaimed, _)| Some(*unclaimed) == pid);
        if let Some(index) = found {
            let (_, how) = self.unclaimed.swap_remove(index);
            self.session_ended(number, how, parked);
        }
        if !self.ordered.is_waiting() {
            self.unclaimed.clear();
        }
    }

    pub(super) fn session_ended(&mut self, number: u32, how: process::Ended, parked: &Parked) {
        self.hear_starting_before_end(number);
        for stream in 0..2 {
            let mut taken = 0;
            while taken < LAST_WORDS {
                match self.pass_output(number, stream) {
                    0 => break,
                    length => taken += length,
                }
            }
        }
        let oom_killed = number == 0 && self.oom_kills() > self.oom_kills_before;
        let ended = Ended { code: how.code(), oom_killed, at: Instant::now() };
        match self.sessions.get_mut(&number) {
            Some(session) => session.ended = Some(ended),
            // It was refused: its end is no news.
            None => return,
        }
        if number == 0 {
            self.first_ended(ended, parked);
        } else {
            self.tell(number, &Answer::Ended(ended));
            self.close_session(number);
        }
    }

    /// A program that ended at once may not have been heard starting yet.
    pub(super) fn hear_starting_before_end(&mut self, number: u32) {
        if self.sessions.get(&number).is_some_and(|session| session.starting.is_some()) {
            self.hear_starting(number);
        }
    }

    pub(super) fn first_ended(&mut self, ended: Ended, parked: &Parked) {
        if let Some(log) = self.sessions.get_mut(&0).and_then(|session| session.log.as_mut()) {
            log.flush();
        }
        if let Some(folder) = &self.subject.folder {
            // Without the file a restarted daemon knows the end from the cgroup only; the daemon that listens now is told all the same.
            let _ = record::write(folder, record::EXIT, &ended);
        }
        if !self.daemon_gone {
            let _ = parked.note(&Note::Ended(ended));
        }
        for index in 0..self.connections.len() {
            match self.connections[index].role {
                Role::Waiting => self.finish(index, &Answer::Ended(ended)),
                Role::Attached { session: 0, .. } | Role::New => self.connections[index].closing = true,
                _ => {}
            }
        }
        self.deadline = Some(Moment::now() + FAREWELL);
    }

    pub(super) fn oom_kills(&self) -> u64 {
        let Some(counter) = &self.oom_counter else { return 0 };
        let mut text = [0; 4096];
        let length = rustix::io::pread(counter, &mut text, 0).unwrap_or(0);
        shipway_sys::cgroup::parse_oom_kills(&String::from_utf8_lossy(&text[..length]))
    }
}
