//! What clients on the service line ask of a monitor that has a container.
//!
//! What must stay true: a question is answered exactly once; one that is not understood is refused and never guessed at.

use std::os::fd::AsFd;

use rustix::io::Errno;
use shipway_sys::{pty, socket};

use super::connection::{Connection, Role};
use super::seat::Seat;
use super::serve::Monitor;
use crate::message::{Answer, AttachWish, MonitorState, Request, tag};

/// How long nobody is let in when that has failed.
const DEAF: std::time::Duration = std::time::Duration::from_millis(200);
/// Most input kept for a program that does not read.
const WAITING_INPUT: usize = 1 << 20;

impl Monitor {
    pub(super) fn admit(&mut self) {
        let Some(listener) = &self.listener else { return };
        loop {
            let client = match rustix::net::accept_with(listener, rustix::net::SocketFlags::CLOEXEC) {
                Ok(client) => client,
                Err(Errno::INTR | Errno::CONNABORTED) => continue,
                Err(Errno::AGAIN) => return,
                // Out of handles, most likely. Whoever waits goes on waiting; asked again at once we would spin.
                Err(_) => {
                    self.deaf_until = Some(std::time::Instant::now() + DEAF);
                    return;
                }
            };
            // The folder is 0700 already; this also refuses a handle that was passed on.
            let ours = rustix::process::geteuid().as_raw();
            if socket::peer_user(client.as_fd()).is_ok_and(|user| user == ours || user == 0) {
                self.connections.push(Connection::new(client, Role::New));
            }
        }
    }

    pub(super) fn hear_client(&mut self, index: usize, mut seat: Option<&mut Seat>) {
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

    pub(super) fn reject(&mut self, index: usize, why: &str) {
        let failure = crate::message::Failure::said(crate::message::Step::Protocol, why);
        self.finish(index, &Answer::Failed(failure));
    }

    pub(super) fn finish(&mut self, index: usize, answer: &Answer) {
        let connection = &mut self.connections[index];
        connection.role = Role::Done;
        connection.closing = true;
        connection.answer(answer);
    }

    pub(super) fn answer(&mut self, index: usize, request: Request, seat: Option<&mut Seat>) {
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
            Request::Signal { number, exec, group } => {
                let sent = if group { self.signal_group(exec.as_deref(), number) } else { self.signal(exec.as_deref(), number) };
                let answer = if sent { Answer::Done } else { gone() };
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

    pub(super) fn take_input(&mut self, number: u32, bytes: &[u8]) {
        if let Some(session) = self.sessions.get_mut(&number).filter(|session| session.sink().is_some()) {
            session.waiting_input.extend(bytes);
            session.feed();
        }
    }

    pub(super) fn client_input_ended(&mut self, number: u32) {
        if let Some(session) = self.sessions.get_mut(&number).filter(|session| session.input_once) {
            session.end_input = true;
            session.feed();
        }
    }

    pub(super) fn takes_input(&self, connection: &Connection) -> bool {
        match connection.role {
            Role::Attached { session, .. } => self.sessions.get(&session).is_none_or(|session| session.waiting_input.len() < WAITING_INPUT),
            _ => true,
        }
    }

    pub(super) fn has_full_client(&self, number: u32) -> bool {
        self.attached(number).any(|(connection, _)| connection.is_full())
    }

    pub(super) fn attached(&self, number: u32) -> impl Iterator<Item = (&Connection, AttachWish)> {
        self.connections.iter().filter_map(move |connection| match connection.role {
            Role::Attached { session, wish } if session == number => Some((connection, wish)),
            _ => None,
        })
    }

    /// Tells everyone attached to a session.
    pub(super) fn tell(&mut self, number: u32, answer: &Answer) {
        for connection in &mut self.connections {
            if matches!(connection.role, Role::Attached { session, .. } if session == number) {
                connection.answer(answer);
            }
        }
    }
}

fn gone() -> Answer {
    Answer::Failed(crate::message::Failure::said(crate::message::Step::Lookup, "no such process or terminal"))
}
