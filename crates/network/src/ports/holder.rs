//! Which process of this host has a port: the kernel's socket tables, then the descriptors of every process.
//!
//! Runs only after a claim failed; everything it cannot see makes it answer "unknown", never an error.

use shipway_model::{Port, Protocol};

use super::PortOwner;

/// A socket table of a busy host; beyond it nobody is named.
const LONGEST_TABLE: usize = 64 << 20;

/// The process that listens on the port, or has it bound, at any address.
pub(super) fn find(port: Port) -> PortOwner {
    let tables: &[&str] = match port.protocol {
        Protocol::Tcp => &["tcp", "tcp6"],
        Protocol::Udp => &["udp", "udp6"],
        Protocol::Sctp => &[],
    };
    let inodes: Vec<u64> = tables.iter().flat_map(|table| inodes_of(table, port)).collect();
    if inodes.is_empty() {
        return PortOwner::Unknown;
    }
    process_with(&inodes).unwrap_or(PortOwner::Unknown)
}

/// The sockets of one table whose local port it is; of TCP only those that listen.
fn inodes_of(table: &str, port: Port) -> Vec<u64> {
    let path = format!("/proc/thread-self/net/{table}");
    let Ok(bytes) = shipway_sys::fd::read_host_file(&path, LONGEST_TABLE) else { return Vec::new() };
    inodes_in(&String::from_utf8_lossy(&bytes), port)
}

pub(super) fn inodes_in(text: &str, port: Port) -> Vec<u64> {
    const LISTENS: &str = "0A";
    let inode = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let local = fields.get(1)?.rsplit_once(':')?.1;
        let state = *fields.get(3)?;
        let listens = port.protocol != Protocol::Tcp || state == LISTENS;
        let here = u16::from_str_radix(local, 16).ok()? == port.number;
        fields.get(9)?.parse::<u64>().ok().filter(|inode| here && listens && *inode != 0)
    };
    text.lines().skip(1).filter_map(inode).collect()
}

fn process_with(inodes: &[u64]) -> Option<PortOwner> {
    let wanted: Vec<String> = inodes.iter().map(|inode| format!("socket:[{inode}]")).collect();
    for entry in std::fs::read_dir("/proc").ok()?.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        let Ok(handles) = std::fs::read_dir(entry.path().join("fd")) else { continue };
        let holds = handles.flatten().filter_map(|handle| std::fs::read_link(handle.path()).ok());
        if holds.into_iter().any(|target| target.to_str().is_some_and(|target| wanted.iter().any(|inode| inode == target))) {
            let name = shipway_sys::fd::read_host_file(&format!("/proc/{pid}/comm"), 64).unwrap_or_default();
            let name = String::from_utf8_lossy(&name).trim().chars().filter(|letter| !letter.is_control()).collect();
            return Some(PortOwner::Process { pid, name });
        }
    }
    None
}
