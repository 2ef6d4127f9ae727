//! `top`: the processes of a container, read from /proc; no `ps` is run (R3 of security.md).

use crate::{Engine, Error, Result, blocking};

use super::kill::not_running;

/// Processes as a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessTable {
    pub titles: Vec<String>,
    pub rows: Vec<Vec<String>>,
}

/// Times in /proc are counted in these, on every architecture (proc_pid_stat(5), USER_HZ).
const TICKS_PER_SECOND: u64 = 100;

/// A column that ps(1) knows: its names in `-o`, its title there, and how to read it.
struct Column {
    keys: &'static [&'static str],
    title: &'static str,
    read: fn(&Process) -> String,
}

const fn column(keys: &'static [&'static str], title: &'static str, read: fn(&Process) -> String) -> Column {
    Column { keys, title, read }
}

/// Names with a capital are ours: columns of the standard formats that `-o` names otherwise.
const COLUMNS: &[Column] = &[
    column(&["UserAsUid"], "UID", |process| user_name(&process.uid)),
    column(&["Tty"], "TTY", |process| process.terminal.clone()),
    column(&["Priority"], "PRI", |process| (process.number(15) + 60).to_string()),
    column(&["user", "euser", "uname"], "USER", |process| user_name(&process.uid)),
    column(&["ruser"], "RUSER", |process| user_name(&process.real_uid)),
    column(&["uid", "euid"], "UID", |process| process.uid.clone()),
    column(&["ruid"], "RUID", |process| process.real_uid.clone()),
    column(&["group", "egroup"], "GROUP", |process| group_name(&process.gid)),
    column(&["gid", "egid"], "GID", |process| process.gid.clone()),
    column(&["pid", "tgid"], "PID", |process| process.pid.to_string()),
    column(&["ppid"], "PPID", |process| process.number(1).to_string()),
    column(&["pgid", "pgrp"], "PGID", |process| process.number(2).to_string()),
    column(&["sid", "sess", "session"], "SID", |process| process.number(3).to_string()),
    column(&["tty", "tt"], "TT", |process| process.terminal.clone()),
    column(&["tname"], "TTY", |process| process.terminal.clone()),
    column(&["c"], "C", |process| format!("{:.0}", process.cpu_share().min(99.0).floor())),
    column(&["pcpu", "%cpu"], "%CPU", |process| format!("{:.1}", process.cpu_share())),
    column(&["pmem", "%mem"], "%MEM", |process| format!("{:.1}", process.memory_share())),
    column(&["vsz", "vsize"], "VSZ", |process| (process.number(20) / 1024).to_string()),
    column(&["rss", "rssize", "rsz"], "RSS", |process| (process.number(21) * PAGE / 1024).to_string()),
    column(&["sz"], "SZ", |process| (process.number(20) / PAGE).to_string()),
    column(&["psr"], "PSR", |process| process.number(36).to_string()),
    column(&["stat"], "STAT", state_letters),
    column(&["s", "state"], "S", |process| process.fields.first().cloned().unwrap_or_default()),
    column(&["f", "flag", "flags"], "F", |process| (process.number(6) >> 6 & 7).to_string()),
    column(&["pri"], "PRI", |process| (39 - process.number(15)).to_string()),
    column(&["ni", "nice"], "NI", |process| process.number(16).to_string()),
    column(&["addr"], "ADDR", |_| "-".to_owned()),
    column(&["wchan"], "WCHAN", |process| process.waits_in()),
    column(&["nlwp", "thcount"], "NLWP", |process| process.number(17).to_string()),
    column(&["stime"], "STIME", |process| started_at(process.started())),
    column(&["start_time", "bsdstart"], "START", |process| started_at(process.started())),
    column(&["etime"], "ELAPSED", |process| elapsed(process.lived())),
    column(&["etimes"], "ELAPSED", |process| process.lived().to_string()),
    column(&["time", "cputime"], "TIME", |process| clock_time(process.cpu_seconds())),
    column(&["bsdtime"], "TIME", |process| format!("{}:{:02}", process.cpu_seconds() / 60, process.cpu_seconds() % 60)),
    column(&["cmd"], "CMD", |process| process.command.clone()),
    column(&["args", "command"], "COMMAND", |process| process.command.clone()),
    column(&["comm", "ucomm"], "COMMAND", |process| process.name.clone()),
    column(&["ucmd"], "CMD", |process| process.name.clone()),
];

/// Bytes of a page on the architectures we know.
const PAGE: i64 = 4096;

/// Columns of the standard formats.
const PLAIN: &[&str] = &["pid", "Tty", "time", "cmd"];
const FULL: &[&str] = &["UserAsUid", "pid", "ppid", "c", "stime", "Tty", "time", "cmd"];
const EXTRA_FULL: &[&str] = &["UserAsUid", "pid", "ppid", "c", "sz", "rss", "psr", "stime", "Tty", "time", "cmd"];
const LONG: &[&str] = &["f", "s", "uid", "pid", "ppid", "c", "Priority", "ni", "addr", "sz", "wchan", "Tty", "time", "cmd"];
const FULL_LONG: &[&str] =
    &["f", "s", "UserAsUid", "pid", "ppid", "c", "Priority", "ni", "addr", "sz", "wchan", "stime", "Tty", "time", "cmd"];
const BSD: &[&str] = &["pid", "Tty", "stat", "bsdtime", "command"];
const BSD_USER: &[&str] = &["user", "pid", "%cpu", "%mem", "vsz", "rss", "Tty", "stat", "start_time", "bsdtime", "command"];
const BSD_LONG: &[&str] = &["f", "uid", "pid", "ppid", "pri", "ni", "vsz", "rss", "wchan", "stat", "Tty", "bsdtime", "command"];

/// A column to show, perhaps under a title of the user's.
struct Shown {
    column: &'static Column,
    title: String,
}

impl Engine {
    /// The processes of the container `name`, in the columns that `ps_args` (`-ef` when empty) asks for.
    ///
    /// # Errors
    /// `Conflict` when it does not run; `Invalid` for columns this version cannot show.
    pub async fn top(&self, name: &str, ps_args: &str) -> Result<ProcessTable> {
        let container = self.container(name)?;
        let handle = container.handle().ok_or_else(|| not_running(&container, "top"))?;
        let columns = columns_of(ps_args)?;
        let rows = blocking::files(move || {
            let read = handle.processes().into_iter().filter_map(Process::read);
            let row = |process: Process| columns.iter().map(|shown| (shown.column.read)(&process)).collect();
            Ok((read.map(row).collect(), columns.into_iter().map(|shown| shown.title).collect()))
        });
        let (rows, titles) = rows.await?;
        self.publish_container(&container, "top", std::collections::BTreeMap::new());
        Ok(ProcessTable { titles, rows })
    }
}

/// Which columns a ps(1) command line means. Options that choose processes say nothing here: the container's are shown.
fn columns_of(ps_args: &str) -> Result<Vec<Shown>> {
    let refused = || Error::InvalidWithHint {
        reason: format!("ps options \"{ps_args}\" are not supported"),
        hint: "use -ef, aux, or -o with a list of columns".to_owned(),
    };
    let mut words = ps_args.split_whitespace().peekable();
    let (mut unix, mut bsd, mut is_full, mut list) = (None, None, false, Vec::new());
    let mut any = false;
    while let Some(word) = words.next() {
        any = true;
        let (letters, is_unix) = word.strip_prefix('-').map_or((word, false), |letters| (letters, true));
        // ps takes `-aux` and `-x` for what everybody means by them.
        let is_unix = is_unix && !matches!(letters, "aux" | "auxww" | "auxw" | "ax" | "x" | "axo" | "axww");
        for (at, letter) in letters.char_indices() {
            match (letter, is_unix) {
                ('o', _) => {
                    let attached = &letters[at + 1..];
                    let asked = if attached.is_empty() { words.next().ok_or_else(refused)? } else { attached };
                    list.extend(asked.split(',').filter(|name| !name.is_empty()).map(str::to_owned));
                    break;
                }
                ('f', true) => is_full = true,
                ('F', true) => unix = Some(EXTRA_FULL),
                ('l', true) => unix = Some(LONG),
                ('u', false) => bsd = Some(BSD_USER),
                ('l', false) => bsd = Some(BSD_LONG),
                ('e' | 'A' | 'a' | 'd' | 'w' | 'y' | 'H', true) => {}
                ('a' | 'x' | 'w' | 'f' | 'c' | 'e' | 'r', false) => bsd = bsd.or(Some(BSD)),
                _ => return Err(refused()),
            }
        }
    }
    let standard = match (unix, bsd, is_full) {
        (Some(LONG), _, true) => FULL_LONG,
        (Some(chosen), _, _) => chosen,
        (None, Some(chosen), _) => chosen,
        (None, None, true) => FULL,
        (None, None, false) if any => PLAIN,
        (None, None, false) => FULL,
    };
    if list.is_empty() {
        list = standard.iter().map(|name| (*name).to_owned()).collect();
    }
    let mut columns = Vec::new();
    for asked in list {
        let (name, title) = asked.split_once('=').map_or((asked.as_str(), None), |(name, title)| (name, Some(title)));
        let column = COLUMNS.iter().find(|column| column.keys.contains(&name));
        let column = column.ok_or_else(|| Error::invalid(format!("error: unknown user-defined format specifier \"{name}\"")))?;
        columns.push(Shown { column, title: title.unwrap_or(column.title).to_owned() });
    }
    if !columns.iter().any(|shown| shown.title == "PID") {
        return Err(Error::invalid("Couldn't find PID field in ps output"));
    }
    Ok(columns)
}

/// What /proc tells about one process.
#[derive(Debug, Default)]
struct Process {
    pid: i32,
    uid: String,
    real_uid: String,
    gid: String,
    name: String,
    command: String,
    terminal: String,
    /// The fields of its stat file behind the name: the first is the third of proc_pid_stat(5).
    fields: Vec<String>,
    /// Seconds since the machine started.
    now: u64,
}

impl Process {
    /// Reads a process; `None` when it ended meanwhile.
    fn read(pid: i32) -> Option<Self> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name stands in parentheses and may hold any byte: the last parenthesis ends it (proc_pid_stat(5)).
        let (open, close) = (stat.find('(')?, stat.rfind(')')?);
        let name = stat.get(open + 1..close)?.to_owned();
        let fields: Vec<String> = stat.get(close + 2..)?.split_whitespace().map(str::to_owned).collect();
        let command = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let command = String::from_utf8_lossy(&command).trim_end_matches('\0').replace('\0', " ");
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let ids = |name: &str| {
            status
                .lines()
                .find_map(|line| line.strip_prefix(name))
                .map(|line| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
        };
        let (uids, gids) = (ids("Uid:")?, ids("Gid:")?);
        let uptime = std::fs::read_to_string("/proc/uptime").unwrap_or_default();
        let mut process = Self {
            pid,
            real_uid: uids.first()?.clone(),
            uid: uids.get(1)?.clone(),
            gid: gids.get(1)?.clone(),
            command: if command.is_empty() { format!("[{name}]") } else { command },
            name,
            terminal: String::new(),
            fields,
            now: uptime.split('.').next().and_then(|text| text.parse().ok()).unwrap_or(0),
        };
        process.terminal = if process.number(4) == 0 { "?".to_owned() } else { format!("pts/{}", process.number(4) & 0xff) };
        Some(process)
    }

    fn number(&self, index: usize) -> i64 {
        self.fields.get(index).and_then(|field| field.parse().ok()).unwrap_or(0)
    }

    /// Seconds after boot at which it started.
    fn started(&self) -> u64 {
        u64::try_from(self.number(19)).unwrap_or(0) / TICKS_PER_SECOND
    }

    /// Seconds it has lived.
    fn lived(&self) -> u64 {
        self.now.saturating_sub(self.started())
    }

    fn cpu_seconds(&self) -> u64 {
        u64::try_from(self.number(11) + self.number(12)).unwrap_or(0) / TICKS_PER_SECOND
    }

    /// Percent of one processor over its whole life, as ps(1) counts.
    #[allow(clippy::cast_precision_loss)] // Tenths of a percent are shown.
    fn cpu_share(&self) -> f64 {
        let ticks = (self.number(11) + self.number(12)).max(0) as f64;
        if self.lived() == 0 { 0.0 } else { ticks / TICKS_PER_SECOND as f64 * 100.0 / self.lived() as f64 }
    }

    /// Percent of the machine's memory.
    #[allow(clippy::cast_precision_loss)] // Tenths of a percent are shown.
    fn memory_share(&self) -> f64 {
        let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let total = text.lines().find_map(|line| line.strip_prefix("MemTotal:")?.trim().trim_end_matches(" kB").parse::<f64>().ok());
        (self.number(21) * PAGE / 1024) as f64 * 100.0 / total.filter(|total| *total > 0.0).unwrap_or(f64::INFINITY)
    }

    /// The kernel's function it waits in.
    fn waits_in(&self) -> String {
        let text = std::fs::read_to_string(format!("/proc/{}/wchan", self.pid)).unwrap_or_default();
        if matches!(text.as_str(), "" | "0") { "-".to_owned() } else { text.chars().take(6).collect() }
    }
}

/// ps(1)'s STAT: the state, then priority, session leader, threads, foreground.
fn state_letters(process: &Process) -> String {
    let (group, session, foreground) = (process.number(2), process.number(3), process.number(5));
    let (nice, threads) = (process.number(16), process.number(17));
    let mut letters = process.fields.first().cloned().unwrap_or_default();
    for (holds, letter) in
        [(nice < 0, '<'), (nice > 0, 'N'), (session == i64::from(process.pid), 's'), (threads > 1, 'l'), (foreground == group, '+')]
    {
        if holds {
            letters.push(letter);
        }
    }
    letters
}

/// `[[days-]hours:]minutes:seconds`.
fn elapsed(seconds: u64) -> String {
    let (days, hours, minutes, left) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    match (days, hours) {
        (0, 0) => format!("{minutes:02}:{left:02}"),
        (0, hours) => format!("{hours:02}:{minutes:02}:{left:02}"),
        (days, hours) => format!("{days}-{hours:02}:{minutes:02}:{left:02}"),
    }
}

fn clock_time(seconds: u64) -> String {
    format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

/// The host's name for a user id, as ps(1) shows it; the number when it has none.
fn user_name(uid: &str) -> String {
    name_in("/etc/passwd", uid)
}

/// The same for a group.
fn group_name(gid: &str) -> String {
    name_in("/etc/group", gid)
}

fn name_in(file: &str, id: &str) -> String {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let found = text.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)? == id).then(|| name.to_owned())
    });
    found.unwrap_or_else(|| id.to_owned())
}

/// The clock time of a process that started `seconds` after boot, as `HH:MM`.
fn started_at(seconds: u64) -> String {
    let stat = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    let boot = stat.lines().find_map(|line| line.strip_prefix("btime ")).and_then(|text| text.trim().parse::<u64>().ok()).unwrap_or(0);
    let of_day = (boot + seconds) % 86_400;
    format!("{:02}:{:02}", of_day / 3600, of_day / 60 % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(options: &str, expected: &str) {
        let titles = columns_of(options).map(|columns| columns.into_iter().map(|shown| shown.title).collect::<Vec<_>>().join(" "));
        assert_eq!(titles.unwrap_or_else(|error| error.to_string()), expected, "{options}");
    }

    #[test]
    fn columns_are_those_of_ps() {
        check("-ef", "UID PID PPID C STIME TTY TIME CMD");
        check("-F", "UID PID PPID C SZ RSS PSR STIME TTY TIME CMD");
        check("-l", "F S UID PID PPID C PRI NI ADDR SZ WCHAN TTY TIME CMD");
        check("-e", "PID TTY TIME CMD");
        check("aux", "USER PID %CPU %MEM VSZ RSS TTY STAT START TIME COMMAND");
        check("-x", "PID TTY STAT TIME COMMAND");
        check("-o pid,comm", "PID COMMAND");
        check("-eo user,pid,nlwp,etime,args", "USER PID NLWP ELAPSED COMMAND");
        check("axo pid,cmd", "PID CMD");
        check("-o pid,uid=Who", "PID Who");
        check("-o comm", "Couldn't find PID field in ps output");
        check("-o nosuch,pid", "error: unknown user-defined format specifier \"nosuch\"");
        check("-T", "ps options \"-T\" are not supported");
        check("-o", "ps options \"-o\" are not supported");
    }

    #[test]
    fn times_are_those_of_ps() {
        assert_eq!((elapsed(59), elapsed(3600), elapsed(90_061)), ("00:59".to_owned(), "01:00:00".to_owned(), "1-01:01:01".to_owned()));
        assert_eq!(clock_time(3_725), "01:02:05");
    }
}
