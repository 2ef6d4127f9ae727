//! nftables over nfnetlink: tables, chains, sets and rules as values, sent in batches that take effect whole or not at all.
//!
//! What must stay true: a name that reaches this module is one of ours or was read from the kernel; values are bytes, never text.
//! Source: linux/netfilter/nf_tables.h; kernel 5.2 or later for nat in the inet family.

pub mod expression;
pub mod list;
pub mod mirror;

use super::{ACK, APPEND, CREATE, Family, Request, Socket, attribute, number_of, text_of};
use crate::Error;

pub use expression::{Expression, Register, Verdict};

pub(crate) const SUBSYSTEM: u16 = 10;
const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;
const NEW_TABLE: u16 = SUBSYSTEM << 8;
const DELETE_TABLE: u16 = NEW_TABLE + 2;
pub(crate) const NEW_CHAIN: u16 = NEW_TABLE + 3;
pub(crate) const GET_CHAIN: u16 = NEW_TABLE + 4;
pub(crate) const NEW_RULE: u16 = NEW_TABLE + 6;
pub(crate) const GET_RULE: u16 = NEW_TABLE + 7;
const DELETE_RULE: u16 = NEW_TABLE + 8;
pub(crate) const NEW_SET: u16 = NEW_TABLE + 9;
pub(crate) const GET_SET: u16 = NEW_TABLE + 10;
pub(crate) const NEW_ELEMENT: u16 = NEW_TABLE + 12;
const DELETE_ELEMENT: u16 = NEW_TABLE + 14;
pub(crate) const GET_ELEMENT: u16 = NEW_TABLE + 13;
const NEW_GENERATION: u16 = NEW_TABLE + 15;
/// The multicast group of changes, as a bit.
const CHANGES: u32 = 1 << 6;
/// Elements of one message: their list must stay below 64 KiB.
const ELEMENTS_A_MESSAGE: usize = 400;
/// struct nfgenmsg's family for tables that see IPv4 and IPv6.
pub(crate) const INET: u8 = 1;

/// The multiples of a hook's priority that have names in nft(8).
pub mod priority {
    pub const RAW: i32 = -300;
    /// Just before destinations are changed, while a packet still says what its sender asked for.
    pub const BEFORE_DNAT: i32 = -110;
    pub const DNAT: i32 = -100;
    pub const FILTER: i32 = 0;
    pub const SNAT: i32 = 100;
}

/// Where a base chain sits on a packet's way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hook {
    Prerouting,
    Input,
    Forward,
    Output,
    Postrouting,
}

impl Hook {
    /// The number of linux/netfilter.h.
    pub(crate) fn number(self) -> u32 {
        match self {
            Self::Prerouting => 0,
            Self::Input => 1,
            Self::Forward => 2,
            Self::Output => 3,
            Self::Postrouting => 4,
        }
    }
}

/// What makes a chain a base chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Base {
    /// "filter" or "nat".
    pub kind: &'static str,
    pub hook: Hook,
    pub priority: i32,
    /// What happens to packets that no rule decides.
    pub policy: Verdict,
}

/// A named set, or map when it has data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Set {
    pub name: &'static str,
    /// The number that rules of the same batch find it by.
    pub id: u32,
    /// nft(8)'s number for the type of the key, for listings only.
    pub key_type: u32,
    pub key_bytes: u32,
    /// The same two for a map's data.
    pub data: Option<(u32, u32)>,
}

/// nft(8)'s numbers for types of keys; a concatenation is shifted by six bits a part.
pub mod key_type {
    pub const IPV4: u32 = 7;
    pub const IPV6: u32 = 8;
    pub const PROTOCOL: u32 = 12;
    pub const SERVICE: u32 = 13;
    pub const INTERFACE: u32 = 41;

    /// The number of a concatenation.
    pub const fn concatenated(parts: &[u32]) -> u32 {
        let (mut number, mut index) = (0, 0);
        while index < parts.len() {
            number = number << 6 | parts[index];
            index += 1;
        }
        number
    }
}

/// An element: each part of a concatenated key padded to four bytes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Element {
    pub key: Vec<u8>,
    pub data: Option<Vec<u8>>,
}

/// Changes that take effect together.
#[derive(Debug)]
pub struct Batch {
    request: Request,
    family: u8,
    table: String,
}

/// struct nfgenmsg.
pub(crate) fn head(family: u8, resource: u16) -> [u8; 4] {
    let [high, low] = resource.to_be_bytes();
    [family, 0, high, low]
}

impl Batch {
    /// Changes of the inet table `table`.
    pub fn new(table: &str) -> Self {
        let mut request = Request::new();
        request.message("begin batch", BATCH_BEGIN, 0, &head(0, SUBSYSTEM));
        Self { request, family: INET, table: table.to_owned() }
    }

    /// What is added from now on belongs to the table `table` of another family (1 for both, 2 for IPv4, 10 for IPv6).
    pub fn turn_to(&mut self, family: u8, table: &str) {
        self.family = family;
        table.clone_into(&mut self.table);
    }

    /// True when nothing was added.
    pub fn is_empty(&self) -> bool {
        self.request.messages.len() <= 1
    }

    /// Makes the table if it is not there.
    pub fn add_table(&mut self) {
        self.request.message("add table", NEW_TABLE, CREATE, &head(self.family, 0));
        self.request.text(1, &self.table);
        self.request.big(2, 0);
    }

    /// Removes the table, which must be there, with everything in it.
    pub fn delete_table(&mut self) {
        self.request.message("delete table", DELETE_TABLE, 0, &head(self.family, 0));
        self.request.text(1, &self.table);
    }

    /// Makes a chain; `base` hooks it into the packets' way.
    pub fn add_chain(&mut self, name: &str, base: Option<Base>) {
        self.request.message("add chain", NEW_CHAIN, CREATE, &head(self.family, 0));
        self.request.text(1, &self.table);
        self.request.text(3, name);
        if let Some(base) = base {
            self.request.nest(4, |hook| {
                hook.big(1, base.hook.number());
                hook.big(2, base.priority as u32);
            });
            self.request.big(5, base.policy.code() as u32);
            self.request.text(7, base.kind);
        }
    }

    /// Makes a set.
    pub fn add_set(&mut self, set: &Set) {
        const MAP: u32 = 8;
        self.request.message("add set", NEW_SET, CREATE, &head(self.family, 0));
        self.request.text(1, &self.table);
        self.request.text(2, set.name);
        self.request.big(3, if set.data.is_some() { MAP } else { 0 });
        self.request.big(4, set.key_type);
        self.request.big(5, set.key_bytes);
        if let Some((kind, bytes)) = set.data {
            self.request.big(6, kind);
            self.request.big(7, bytes);
        }
        self.request.big(10, set.id);
    }

    /// Adds elements; those already there with the same data are left.
    pub fn add_elements(&mut self, set: &str, elements: &[Element]) {
        self.elements("add element", NEW_ELEMENT, CREATE, set, elements);
    }

    /// Removes elements, which must be there.
    pub fn delete_elements(&mut self, set: &str, elements: &[Element]) {
        self.elements("delete element", DELETE_ELEMENT, 0, set, elements);
    }

    fn elements(&mut self, doing: &'static str, kind: u16, flags: u16, set: &str, elements: &[Element]) {
        for some in elements.chunks(ELEMENTS_A_MESSAGE) {
            self.request.message(doing, kind, flags, &head(self.family, 0));
            self.request.text(1, &self.table);
            self.request.text(2, set);
            self.request.nest(3, |list| {
                for element in some {
                    list.nest(1, |item| {
                        item.nest(1, |key| key.attribute(1, &element.key));
                        if let Some(data) = &element.data {
                            item.nest(2, |value| value.attribute(1, data));
                        }
                    });
                }
            });
        }
    }

    /// Appends a rule.
    pub fn add_rule(&mut self, chain: &str, expressions: &[Expression]) {
        self.request.message("add rule", NEW_RULE, CREATE | APPEND, &head(self.family, 0));
        self.request.text(1, &self.table);
        self.request.text(2, chain);
        self.request.nest(4, |list| {
            for expression in expressions {
                list.nest(1, |item| expression.write(item));
            }
        });
    }

    /// Removes every rule of a chain.
    pub fn flush_chain(&mut self, chain: &str) {
        self.request.message("flush chain", DELETE_RULE, 0, &head(self.family, 0));
        self.request.text(1, &self.table);
        self.request.text(2, chain);
    }

    /// Removes every element of a set.
    pub fn flush_set(&mut self, set: &str) {
        self.request.message("flush set", DELETE_ELEMENT, 0, &head(self.family, 0));
        self.request.text(1, &self.table);
        self.request.text(2, set);
    }

    /// Bytes so far.
    pub fn bytes(&self) -> usize {
        self.request.bytes.len()
    }
}

impl Socket {
    /// Puts a batch into effect, whole or not at all.
    ///
    /// # Errors
    /// `ENOENT` when a table, set or element to change is not there.
    ///
    /// # Cost
    /// About 15 microseconds with one element.
    pub fn commit(&self, mut batch: Batch) -> Result<(), Error> {
        const SMALLEST_LIMIT: usize = 160 << 10;
        batch.request.message("end batch", BATCH_END, 0, &head(0, SUBSYSTEM));
        if batch.bytes() > SMALLEST_LIMIT {
            self.allow_datagram(batch.bytes() * 2);
        }
        self.perform_batch(&mut batch.request)
    }

    /// The names of all tables with their families.
    pub fn tables(&self) -> Result<Vec<(u8, String)>, Error> {
        let mut request = Request::new();
        request.message("list tables", NEW_TABLE + 1, super::DUMP, &head(0, 0));
        let mut tables = Vec::new();
        self.dump(request, |kind, body| {
            if let (NEW_TABLE, Some(family), Some(name)) = (kind, body.first(), body.get(4..).and_then(|rest| attribute(rest, 1))) {
                tables.push((*family, text_of(name)));
            }
        })?;
        Ok(tables)
    }

    /// True when the inet table of that name exists.
    pub fn has_table(&self, table: &str) -> Result<bool, Error> {
        let mut request = Request::new();
        request.message("look up table", NEW_TABLE + 1, ACK, &head(INET, 0));
        request.text(1, table);
        match self.dump(request, |_, _| {}) {
            Ok(()) => Ok(true),
            Err(error) if error.errno == rustix::io::Errno::NOENT => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// True when a set of the inet table has that key.
    pub fn has_element(&self, table: &str, set: &str, key: &[u8]) -> Result<bool, Error> {
        let mut request = Request::new();
        request.message("look up element", GET_ELEMENT, ACK, &head(INET, 0));
        request.text(1, table);
        request.text(2, set);
        request.nest(3, |list| list.nest(1, |item| item.nest(1, |value| value.attribute(1, key))));
        match self.dump(request, |_, _| {}) {
            Ok(()) => Ok(true),
            Err(error) if error.errno == rustix::io::Errno::NOENT => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// A change of the rules, by whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The socket that made it, as [`Socket::port`] names ours.
    pub port: u32,
    /// The table it touched; empty for the note that ends a batch.
    pub table: String,
    /// The program, from the note that ends a batch.
    pub program: String,
}

/// Hears of every change of the rules in its network namespace.
#[derive(Debug)]
pub struct Watcher(Socket);

impl Watcher {
    /// Starts to listen, in the calling thread's network namespace.
    pub fn open() -> Result<Self, Error> {
        let socket = Socket::listening(Family::Netfilter, CHANGES)?;
        socket.allow_backlog(4 << 20);
        Ok(Self(socket))
    }

    /// Waits for changes.
    ///
    /// # Errors
    /// `ENOBUFS` when some were lost: look for yourself.
    pub fn changes(&self) -> Result<Vec<Change>, Error> {
        let mut changes = Vec::new();
        self.0.news(|kind, port, body| {
            let rest = body.get(4..).unwrap_or_default();
            if kind == NEW_GENERATION {
                let program = attribute(rest, 3).map(text_of).unwrap_or_default();
                changes.push(Change { port, table: String::new(), program });
            } else {
                // In every kind of object the table's name is attribute 1.
                let table = attribute(rest, 1).map(text_of).unwrap_or_default();
                changes.push(Change { port, table, program: String::new() });
            }
        })?;
        Ok(changes)
    }
}

impl std::os::fd::AsFd for Watcher {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// A number in network order.
pub(crate) fn big_of(value: &[u8]) -> Option<u32> {
    number_of(value).map(u32::from_be)
}
