//! The loop of a monitor that has a container.
//!
//! One poll over everything that can speak: the daemon, the socket, clients, programs, ended children. What must stay true: nothing in the loop
//! blocks; output of the first program is logged whether or not anyone is attached; the end is written down, then told, then the loop winds up.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::time::Instant as Moment;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::Pid;
use shipway_sys::{process, socket};

use super::connection::{Connection, Role};
use super::execute::Ordered;
use super::seat::Seat;
use super::session::Session;
use super::{Parked, libc_kill, record};
use crate::message::{LONGEST, MonitorState, Order, tag};

/// Whom a monitor is for.
pub(super) struct Subject {
    pub(super) state: MonitorState,
    pub(super) pid: Pid,
    pub(super) folder: Option<PathBuf>,
    pub(super) ephemeral: bool,
}

/// How serving ended.
pub(super) enum Served {
    /// The program has ended and everyone has been told.
    Ended,
    /// The daemon has gone and took the (ephemeral) container with it.
    Abandoned,
}

/// A monitor with a container.
pub(super) struct Monitor {
    pub(super) subject: Subject,
    /// 0 is the first program.
    pub(super) sessions: BTreeMap<u32, Session>,
    pub(super) next_session: u32,
    pub(super) connections: Vec<Connection>,
    pub(super) listener: Option<OwnedFd>,
    /// The listener is left alone until then.
    pub(super) deaf_until: Option<Moment>,
    pub(super) oom_counter: Option<OwnedFd>,
    pub(super) oom_kills_before: u64,
    pub(super) devpts: OwnedFd,
    pub(super) filter: Option<OwnedFd>,
    /// The mounts of a build step: taking them down is not to stand between its end and the word of it.
    _mounts: Option<OwnedFd>,
    pub(super) ordered: Ordered,
    /// Children that ended before the seat has said whose they are.
    pub(super) unclaimed: Vec<(Pid, process::Ended)>,
    pub(super) daemon_gone: bool,
    pub(super) seat_gone: bool,
    /// When serving ends at the latest, once the program has ended.
    pub(super) deadline: Option<Moment>,
}

/// Who can speak in one turn of the loop.
#[derive(Clone, Copy)]
enum Speaker {
    Daemon,
    Children,
    Listener,
    Seat,
    Output(u32, usize),
    Input(u32),
    Starting(u32),
    Client(usize),
}

impl Monitor {
    pub(super) fn new(
        subject: Subject,
        first: Session,
        listener: Option<OwnedFd>,
        oom_counter: Option<OwnedFd>,
        devpts: OwnedFd,
        filter: Option<OwnedFd>,
        mounts: Option<OwnedFd>,
    ) -> Self {
        let mut monitor = Self {
            subject,
            sessions: BTreeMap::from([(0, first)]),
            next_session: 1,
            connections: Vec::new(),
            listener,
            deaf_until: None,
            oom_counter,
            oom_kills_before: 0,
            devpts,
            filter,
            _mounts: mounts,
            ordered: Ordered::default(),
            unclaimed: Vec::new(),
            daemon_gone: false,
            seat_gone: false,
            deadline: None,
        };
        monitor.oom_kills_before = monitor.oom_kills();
        monitor
    }

    pub(super) fn first(&self) -> &Session {
        &self.sessions[&0]
    }

    /// Serves to the end.
    pub(super) fn serve(mut self, parked: &mut Parked) -> Served {
        let mut seat = parked.seat.take();
        while !self.is_over() {
            for (speaker, flags) in self.listen(parked, seat.as_ref()) {
                self.attend(speaker, flags, parked, seat.as_mut());
            }
            self.part_with_clients();
            if let Some(log) = self.sessions.get_mut(&0).and_then(|session| session.log.as_mut()) {
                log.pack(parked.one_thread);
            }
        }
        if let Some(folder) = &self.subject.folder {
            let _ = std::fs::remove_file(folder.join(record::SOCKET));
        }
        if self.subject.ephemeral && !self.daemon_gone {
            parked.seat = seat;
            return Served::Ended;
        }
        if let Some(seat) = seat {
            seat.leave();
        }
        if self.daemon_gone { Served::Abandoned } else { Served::Ended }
    }

    fn is_over(&self) -> bool {
        self.deadline.is_some_and(|deadline| self.connections.is_empty() || Moment::now() > deadline)
    }

    /// Waits until somebody speaks.
    fn listen(&self, parked: &Parked, seat: Option<&Seat>) -> Vec<(Speaker, PollFlags)> {
        let mut speakers: Vec<Speaker> = Vec::new();
        let mut handles: Vec<PollFd<'_>> = Vec::new();
        let mut add = |speaker, handle, flags| {
            speakers.push(speaker);
            handles.push(PollFd::from_borrowed_fd(handle, flags));
        };
        if !self.daemon_gone {
            add(Speaker::Daemon, parked.control.as_fd(), PollFlags::IN);
        }
        add(Speaker::Children, parked.signals.as_fd(), PollFlags::IN);
        let is_deaf = self.deaf_until.is_some_and(|until| Moment::now() < until);
        if let Some(listener) = self.listener.as_ref().filter(|_| !is_deaf) {
            add(Speaker::Listener, listener.as_fd(), PollFlags::IN);
        }
        if let Some(seat) = seat.filter(|_| !self.seat_gone) {
            add(Speaker::Seat, seat.line(), PollFlags::IN);
        }
        for (number, session) in &self.sessions {
            if !self.has_full_client(*number) {
                for (stream, handle) in session.sources() {
                    add(Speaker::Output(*number, stream), handle, PollFlags::IN);
                }
            }
            if let Some(sink) = session.sink().filter(|_| !session.waiting_input.is_empty()) {
                add(Speaker::Input(*number), sink, PollFlags::OUT);
            }
            // Heard only after the seat has told the pid, so that Started can name it.
            if let Some(line) = session.starting.as_ref().filter(|_| session.pid.is_some()) {
                add(Speaker::Starting(*number), line.as_fd(), PollFlags::IN);
            }
        }
        for (index, connection) in self.connections.iter().enumerate() {
            let mut flags = PollFlags::empty();
            flags.set(PollFlags::IN, !connection.finished_reading && self.takes_input(connection));
            flags.set(PollFlags::OUT, connection.has_output());
            add(Speaker::Client(index), connection.socket.as_fd(), flags);
        }
        // A client that stands still, or a farewell, ends by the clock.
        let someone_is_full = self.connections.iter().any(Connection::is_full);
        let patience = (self.deadline.is_some() || someone_is_full || is_deaf).then_some(Timespec { tv_sec: 0, tv_nsec: 200_000_000 });
        if poll(&mut handles, patience.as_ref()).is_err() {
            return Vec::new();
        }
        let told = speakers.into_iter().zip(handles.iter().map(PollFd::revents));
        told.filter(|(_, flags)| !flags.is_empty()).collect()
    }

    fn attend(&mut self, speaker: Speaker, flags: PollFlags, parked: &Parked, seat: Option<&mut Seat>) {
        match speaker {
            Speaker::Daemon => self.hear_daemon(parked),
            Speaker::Children => {
                while process::next_signal(parked.signals.as_fd()).is_some() {}
                self.bury(parked);
            }
            Speaker::Listener => self.admit(),
            Speaker::Seat => {
                if let Some(seat) = seat {
                    let (number, stays) = self.hear_seat(seat);
                    self.seat_gone |= !stays;
                    number.into_iter().for_each(|number| self.claim(number, parked));
                }
            }
            Speaker::Output(number, stream) => {
                self.pass_output(number, stream);
            }
            Speaker::Input(number) => {
                if let Some(session) = self.sessions.get_mut(&number) {
                    session.feed();
                }
            }
            Speaker::Starting(number) => self.hear_starting(number),
            Speaker::Client(index) => {
                if flags.intersects(PollFlags::OUT) {
                    self.connections[index].send();
                }
                if flags.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR) {
                    self.hear_client(index, seat);
                }
                // A hang-up is the end of both directions (a client that only half-closed does not cause it): nobody is left to tell.
                // Kept open, the line would wake us for ever, as when a daemon was killed.
                if flags.intersects(PollFlags::HUP | PollFlags::ERR) {
                    self.connections[index].broken = true;
                }
            }
        }
    }

    fn hear_daemon(&mut self, parked: &Parked) {
        match socket::receive(parked.control.as_fd(), LONGEST) {
            Ok(Some(message)) => {
                if let Ok(Order::Signal(number)) = serde_json::from_slice(&message.bytes) {
                    self.signal(None, number);
                }
            }
            Ok(None) | Err(_) => {
                self.daemon_gone = true;
                if self.subject.ephemeral {
                    self.signal(None, libc_kill());
                }
            }
        }
    }

    pub(super) fn signal(&self, exec: Option<&str>, number: i32) -> bool {
        let Some(session) = self.find(exec) else { return false };
        // A session that has ended has given its number back.
        match session.pid.filter(|_| session.ended.is_none()) {
            Some(pid) => process::send_signal(pid, number).is_ok(),
            None => false,
        }
    }

    /// The same for everything in its process group: every program of ours leads a session of its own.
    pub(super) fn signal_group(&self, exec: Option<&str>, number: i32) -> bool {
        let Some(session) = self.find(exec).filter(|session| session.ended.is_none()) else { return false };
        let signal = rustix::process::Signal::from_named_raw(number);
        match (session.pid, signal) {
            (Some(pid), Some(signal)) => {
                rustix::process::kill_process_group(pid, signal).or_else(|_| rustix::process::kill_process(pid, signal)).is_ok()
            }
            _ => false,
        }
    }

    pub(super) fn find(&self, exec: Option<&str>) -> Option<&Session> {
        self.sessions.values().find(|session| session.exec.as_deref() == exec)
    }

    pub(super) fn add(&mut self, session: Session) -> u32 {
        let number = self.next_session;
        self.next_session += 1;
        self.sessions.insert(number, session);
        number
    }

    pub(super) fn pass_output(&mut self, number: u32, stream: usize) -> usize {
        let Some(session) = self.sessions.get_mut(&number) else { return 0 };
        let Some(bytes) = session.read(stream) else { return 0 };
        if let Some(log) = &mut session.log {
            log.take(stream, &bytes);
        }
        for connection in &mut self.connections {
            if let Role::Attached { session, wish } = connection.role
                && session == number
                && (if stream == 0 { wish.stdout } else { wish.stderr })
            {
                connection.pass(if stream == 0 { tag::DATA } else { tag::OTHER }, &bytes);
            }
        }
        bytes.len()
    }

    /// Forgets a session and lets its clients go once they have everything.
    pub(super) fn close_session(&mut self, number: u32) {
        if number != 0 {
            self.sessions.remove(&number);
        }
        for connection in &mut self.connections {
            if matches!(connection.role, Role::Attached { session, .. } if session == number) {
                connection.closing = true;
            }
        }
    }

    fn part_with_clients(&mut self) {
        for connection in &mut self.connections {
            if connection.stands_still() {
                connection.broken = true;
            }
        }
        let left: Vec<Connection> = self.connections.extract_if(.., |connection| connection.is_over()).collect();
        for connection in left {
            if let Role::Attached { session, wish } = connection.role
                && wish.stdin
            {
                self.client_input_ended(session);
            }
            if let Role::Attached { session, .. } = connection.role
                && let Some(session) = self.sessions.get(&session).filter(|session| session.tied && session.ended.is_none())
            {
                self.signal_group(session.exec.as_deref(), libc_kill());
            }
        }
        let over = self.deadline.is_some();
        for connection in &mut self.connections {
            connection.closing |= over && matches!(connection.role, Role::New | Role::Attached { session: 0, .. });
        }
    }
}
