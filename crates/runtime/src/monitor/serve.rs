//! The loop of a monitor that has a container.
//!
//! One poll over everything that can speak: the daemon, the socket, clients, programs, ended children. What must stay true: nothing in the loop
//! blocks; output of the first program is logged whether or not anyone is attached; the end is written down, then told, then the loop winds up.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant as Moment};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::Pid;
use shipway_sys::{process, pty, socket};

use super::connection::{Connection, Role};
use super::execute::Ordered;
use super::seat::Seat;
use super::session::Session;
use super::{Parked, libc_kill, reap_all, record};
use crate::clock::Instant;
use crate::message::{Answer, AttachWish, Ended, LONGEST, MonitorState, Note, Order, Request, tag};

/// How long clients may take to fetch the last output after the end.
const FAREWELL: Duration = Duration::from_secs(10);
/// Most bytes taken from one handle when its program has ended, against a survivor that writes for ever.
const LAST_WORDS: usize = 4 << 20;
/// Most input kept for a program that does not read.
const WAITING_INPUT: usize = 1 << 20;

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
    next_session: u32,
    pub(super) connections: Vec<Connection>,
    listener: Option<OwnedFd>,
    oom_counter: Option<OwnedFd>,
    oom_kills_before: u64,
    pub(super) devpts: OwnedFd,
    pub(super) filter: Option<OwnedFd>,
    pub(super) ordered: Ordered,
    /// Children that ended before the seat has said whose they are.
    unclaimed: Vec<(Pid, process::Ended)>,
    daemon_gone: bool,
    seat_gone: bool,
    /// When serving ends at the latest, once the program has ended.
    deadline: Option<Moment>,
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
    ) -> Self {
        let mut monitor = Self {
            subject,
            sessions: BTreeMap::from([(0, first)]),
            next_session: 1,
            connections: Vec::new(),
            listener,
            oom_counter,
            oom_kills_before: 0,
            devpts,
            filter,
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
        if let Some(listener) = &self.listener {
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
        let patience = (self.deadline.is_some() || someone_is_full).then_some(Timespec { tv_sec: 0, tv_nsec: 200_000_000 });
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

    fn signal(&self, exec: Option<&str>, number: i32) -> bool {
        let Some(session) = self.find(exec) else { return false };
        // A session that has ended has given its number back.
        match session.pid.filter(|_| session.ended.is_none()) {
            Some(pid) => process::send_signal(pid, number).is_ok(),
            None => false,
        }
    }

    fn find(&self, exec: Option<&str>) -> Option<&Session> {
        self.sessions.values().find(|session| session.exec.as_deref() == exec)
    }

    fn admit(&mut self) {
        let Some(listener) = &self.listener else { return };
        while let Ok(client) = rustix::net::accept_with(listener, rustix::net::SocketFlags::CLOEXEC) {
            // The folder is 0700 already; this also refuses a handle that was passed on.
            let ours = rustix::process::geteuid().as_raw();
            if socket::peer_user(client.as_fd()).is_ok_and(|user| user == ours || user == 0) {
                self.connections.push(Connection::new(client, Role::New));
            }
        }
    }

    fn hear_client(&mut self, index: usize, mut seat: Option<&mut Seat>) {
        for (tag, bytes) in self.connections[index].receive() {
            match (self.connections[index].role, tag) {
                (Role::Attached { session, wish }, tag::DATA) if wish.stdin => self.take_input(session, &bytes),
                (Role::Attached { session, wish }, tag::OTHER) if wish.stdin => self.client_input_ended(session),
                (Role::New, tag::JSON) => match serde_json::from_slice(&bytes) {
                    Ok(request) => self.answer(index, request, seat.as_deref_mut()),
                    Err(error) => self.reject(index, &error.to_string()),
                },
                _ => self.reject(index, "unexpected frame"),
            }
        }
        let connection = &mut self.connections[index];
        if connection.finished_reading {
            match connection.role {
                // A client may half-close and go on listening.
                Role::Attached { session, wish } if wish.stdin => self.client_input_ended(session),
                Role::Attached { .. } | Role::Waiting | Role::Done => {}
                Role::New => connection.broken = true,
            }
        }
    }

    fn reject(&mut self, index: usize, why: &str) {
        let failure = crate::message::Failure::said(crate::message::Step::Protocol, why);
        self.finish(index, &Answer::Failed(failure));
    }

    fn finish(&mut self, index: usize, answer: &Answer) {
        let connection = &mut self.connections[index];
        connection.role = Role::Done;
        connection.closing = true;
        connection.answer(answer);
    }

    fn answer(&mut self, index: usize, request: Request, seat: Option<&mut Seat>) {
        match request {
            Request::State => {
                let state = MonitorState { ended: self.first().ended, ..self.subject.state.clone() };
                self.finish(index, &Answer::State(state));
            }
            Request::Attach(wish) => self.connections[index].role = Role::Attached { session: 0, wish },
            Request::Wait => match self.first().ended {
                Some(ended) => self.finish(index, &Answer::Ended(ended)),
                None => self.connections[index].role = Role::Waiting,
            },
            Request::Signal { number, exec } => {
                let answer = if self.signal(exec.as_deref(), number) { Answer::Done } else { gone() };
                self.finish(index, &answer);
            }
            Request::Resize { rows, cols, exec } => {
                let terminal = self.find(exec.as_deref()).and_then(|session| session.terminal.as_ref());
                let resized = terminal.is_some_and(|terminal| pty::set_size(terminal.as_fd(), rows, cols).is_ok());
                self.finish(index, &if resized { Answer::Done } else { gone() });
            }
            Request::Execute(request) => {
                let wish = request.attach;
                let ordered = match seat.filter(|_| !self.seat_gone) {
                    Some(seat) => self.order(seat, *request),
                    None => Err(crate::message::Failure::said(crate::message::Step::Clone, "the seat has left")),
                };
                match ordered {
                    Ok(session) => self.connections[index].role = Role::Attached { session, wish },
                    Err(failure) => self.finish(index, &Answer::Failed(failure)),
                }
            }
        }
    }

    pub(super) fn add(&mut self, session: Session) -> u32 {
        let number = self.next_session;
        self.next_session += 1;
        self.sessions.insert(number, session);
        number
    }

    fn take_input(&mut self, number: u32, bytes: &[u8]) {
        if let Some(session) = self.sessions.get_mut(&number).filter(|session| session.sink().is_some()) {
            session.waiting_input.extend(bytes);
            session.feed();
        }
    }

    fn client_input_ended(&mut self, number: u32) {
        if let Some(session) = self.sessions.get_mut(&number).filter(|session| session.input_once) {
            session.end_input = true;
            session.feed();
        }
    }

    fn takes_input(&self, connection: &Connection) -> bool {
        match connection.role {
            Role::Attached { session, .. } => self.sessions.get(&session).is_none_or(|session| session.waiting_input.len() < WAITING_INPUT),
            _ => true,
        }
    }

    fn has_full_client(&self, number: u32) -> bool {
        self.attached(number).any(|(connection, _)| connection.is_full())
    }

    fn attached(&self, number: u32) -> impl Iterator<Item = (&Connection, AttachWish)> {
        self.connections.iter().filter_map(move |connection| match connection.role {
            Role::Attached { session, wish } if session == number => Some((connection, wish)),
            _ => None,
        })
    }

    fn pass_output(&mut self, number: u32, stream: usize) -> usize {
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

    /// Tells everyone attached to a session.
    pub(super) fn tell(&mut self, number: u32, answer: &Answer) {
        for connection in &mut self.connections {
            if matches!(connection.role, Role::Attached { session, .. } if session == number) {
                connection.answer(answer);
            }
        }
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

    fn bury(&mut self, parked: &Parked) {
        for (pid, how) in reap_all() {
            let number = self.sessions.iter().find(|(_, session)| session.pid == Some(pid)).map(|(number, _)| *number);
            match number {
                Some(number) => self.session_ended(number, how, parked),
                None if pid.as_raw_pid() == self.subject.state.seat => self.seat_gone = true,
                // A program as short as `true` may end before the seat's word about its clone is read.
                None if self.ordered.is_waiting() => self.unclaimed.push((pid, how)),
                // An orphan that we have inherited.
                None => {}
            }
        }
    }

    /// Looks whether the program just cloned has ended already.
    fn claim(&mut self, number: u32, parked: &Parked) {
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

    fn session_ended(&mut self, number: u32, how: process::Ended, parked: &Parked) {
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
    fn hear_starting_before_end(&mut self, number: u32) {
        if self.sessions.get(&number).is_some_and(|session| session.starting.is_some()) {
            self.hear_starting(number);
        }
    }

    fn first_ended(&mut self, ended: Ended, parked: &Parked) {
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

    fn oom_kills(&self) -> u64 {
        let Some(counter) = &self.oom_counter else { return 0 };
        let mut text = [0; 4096];
        let length = rustix::io::pread(counter, &mut text, 0).unwrap_or(0);
        shipway_sys::cgroup::parse_oom_kills(&String::from_utf8_lossy(&text[..length]))
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
        }
        let over = self.deadline.is_some();
        for connection in &mut self.connections {
            connection.closing |= over && matches!(connection.role, Role::New | Role::Attached { session: 0, .. });
        }
    }
}

fn gone() -> Answer {
    Answer::Failed(crate::message::Failure::said(crate::message::Step::Lookup, "no such process or terminal"))
}
