//! `top`: the processes of a container, read from /proc; no `ps` is run (R3 of security.md).

use crate::{Engine, Error, Result};

use super::kill::not_running;

/// Processes as a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessTable {
    pub titles: Vec<String>,
    pub rows: Vec<Vec<String>>,
}

/// Times in /proc are counted in these, on every architecture (proc_pid_stat(5), USER_HZ).
const TICKS_PER_SECOND: u64 = 100;

/// A column that ps(1) knows: its name in `-o`, its title, and how to read it.
struct Column {
    key: &'static str,
    title: &'static str,
    read: fn(&Process) -> String,
}

const COLUMNS: &[Column] = &[
    Column { key: "uid", title: "UID", read: |process| process.user.clone() },
    Column { key: "user", title: "USER", read: |process| process.user.clone() },
    Column { key: "pid", title: "PID", read: |process| process.pid.to_string() },
    Column { key: "ppid", title: "PPID", read: |process| process.parent.to_string() },
    Column { key: "c", title: "C", read: |_| "0".to_owned() },
    Column { key: "stime", title: "STIME", read: |process| process.started.clone() },
    Column { key: "tty", title: "TTY", read: |process| process.terminal.clone() },
    Column { key: "time", title: "TIME", read: |process| process.cpu_time.clone() },
    Column { key: "bsdtime", title: "TIME", read: |process| process.short_cpu_time.clone() },
    Column { key: "cmd", title: "CMD", read: |process| process.command.clone() },
    Column { key: "args", title: "COMMAND", read: |process| process.command.clone() },
    Column { key: "command", title: "COMMAND", read: |process| process.command.clone() },
    Column { key: "comm", title: "COMMAND", read: |process| process.name.clone() },
    Column { key: "stat", title: "STAT", read: |process| process.state.clone() },
    Column { key: "vsz", title: "VSZ", read: |process| process.virtual_kilobytes.to_string() },
    Column { key: "rss", title: "RSS", read: |process| process.resident_kilobytes.to_string() },
    Column { key: "%cpu", title: "%CPU", read: |_| "0.0".to_owned() },
    Column { key: "%mem", title: "%MEM", read: |_| "0.0".to_owned() },
];

impl Engine {
    /// The processes of the container `name`, in the columns that `ps_args` (`-ef` when empty) asks for.
    ///
    /// # Errors
    /// `Conflict` when it does not run; `Invalid` for columns this version cannot show.
    pub async fn top(&self, name: &str, ps_args: &str) -> Result<ProcessTable> {
        let container = self.container(name)?;
        let handle = container.handle().ok_or_else(|| not_running(&container, "top"))?;
        let columns = columns_of(ps_args)?;
        let pids = handle.processes();
        let rows = pids
            .into_iter()
            .filter_map(Process::read)
            .map(|process| columns.iter().map(|column| (column.read)(&process)).collect())
            .collect();
        Ok(ProcessTable { titles: columns.iter().map(|column| column.title.to_owned()).collect(), rows })
    }
}

/// Which columns a ps(1) command line means.
fn columns_of(ps_args: &str) -> Result<Vec<&'static Column>> {
    let named = |names: &[&str]| names.iter().filter_map(|name| COLUMNS.iter().find(|column| column.key == *name)).collect::<Vec<_>>();
    let trimmed = ps_args.trim();
    match trimmed.trim_start_matches('-') {
        "" | "ef" | "e" | "fe" => return Ok(named(&["uid", "pid", "ppid", "c", "stime", "tty", "time", "cmd"])),
        "x" | "ax" => return Ok(named(&["pid", "tty", "stat", "bsdtime", "command"])),
        "aux" | "ux" | "auxww" => return Ok(named(&["user", "pid", "%cpu", "%mem", "vsz", "rss", "tty", "stat", "stime", "time", "args"])),
        _ => {}
    }
    let list = trimmed
        .strip_prefix("-eo")
        .or_else(|| trimmed.strip_prefix("-o"))
        .or_else(|| trimmed.strip_prefix("o "))
        .or_else(|| trimmed.strip_prefix("eo "));
    let Some(list) = list else {
        return Err(Error::InvalidWithHint {
            reason: format!("ps options \"{ps_args}\" are not supported"),
            hint: "use -ef, aux, or -o with a list of columns".to_owned(),
        });
    };
    let mut columns = Vec::new();
    for name in list.split([',', ' ']).filter(|name| !name.is_empty()) {
        let column = COLUMNS.iter().find(|column| column.key == name);
        columns.push(column.ok_or_else(|| Error::invalid(format!("error: unknown user-defined format specifier \"{name}\"")))?);
    }
    if !columns.iter().any(|column| column.key == "pid") {
        return Err(Error::invalid("Couldn't find PID field in ps output"));
    }
    Ok(columns)
}

/// What /proc tells about one process.
struct Process {
    pid: i32,
    parent: i32,
    user: String,
    name: String,
    state: String,
    command: String,
    terminal: String,
    started: String,
    cpu_time: String,
    short_cpu_time: String,
    virtual_kilobytes: u64,
    resident_kilobytes: u64,
}

impl Process {
    /// Reads a process; `None` when it ended meanwhile.
    fn read(pid: i32) -> Option<Self> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name stands in parentheses and may hold any byte: the last parenthesis ends it (proc_pid_stat(5)).
        let (open, close) = (stat.find('(')?, stat.rfind(')')?);
        let name = stat.get(open + 1..close)?.to_owned();
        let fields: Vec<&str> = stat.get(close + 2..)?.split(' ').collect();
        let number = |index: usize| fields.get(index).and_then(|field| field.parse::<u64>().ok()).unwrap_or(0);
        let command = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let command = String::from_utf8_lossy(&command).trim_end_matches('\0').replace('\0', " ");
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let uid = status.lines().find_map(|line| line.strip_prefix("Uid:"))?.split_whitespace().next()?.to_owned();
        let kilobytes =
            |name: &str| status.lines().find_map(|line| line.strip_prefix(name)?.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0);
        let ticks = TICKS_PER_SECOND;
        let seconds = (number(11) + number(12)) / ticks;
        Some(Self {
            pid,
            parent: i32::try_from(number(1)).ok()?,
            user: user_name(&uid),
            state: state_letters(pid, &fields),
            command: if command.is_empty() { format!("[{name}]") } else { command },
            name,
            terminal: if number(4) == 0 { "?".to_owned() } else { format!("pts/{}", number(4) & 0xff) },
            started: started_at(number(19) / ticks),
            cpu_time: format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60),
            short_cpu_time: format!("{}:{:02}", seconds / 60, seconds % 60),
            virtual_kilobytes: kilobytes("VmSize:"),
            resident_kilobytes: kilobytes("VmRSS:"),
        })
    }
}

/// ps(1)'s STAT: the state, then priority, session leader, threads, foreground.
fn state_letters(pid: i32, fields: &[&str]) -> String {
    let number = |index: usize| fields.get(index).and_then(|field| field.parse::<i64>().ok()).unwrap_or(0);
    let (group, session, foreground, nice, threads) = (number(2), number(3), number(5), number(16), number(17));
    let mut letters = fields.first().copied().unwrap_or_default().to_owned();
    for (holds, letter) in
        [(nice < 0, '<'), (nice > 0, 'N'), (session == i64::from(pid), 's'), (threads > 1, 'l'), (foreground == group, '+')]
    {
        if holds {
            letters.push(letter);
        }
    }
    letters
}

/// The host's name for a user id, as ps(1) shows it; the number when it has none.
fn user_name(uid: &str) -> String {
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let found = passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)? == uid).then(|| name.to_owned())
    });
    found.unwrap_or_else(|| uid.to_owned())
}

/// The clock time of a process that started `seconds` after boot, as `HH:MM`.
fn started_at(seconds: u64) -> String {
    let stat = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    let boot = stat.lines().find_map(|line| line.strip_prefix("btime ")).and_then(|text| text.trim().parse::<u64>().ok()).unwrap_or(0);
    let of_day = (boot + seconds) % 86_400;
    format!("{:02}:{:02}", of_day / 3600, of_day / 60 % 60)
}
