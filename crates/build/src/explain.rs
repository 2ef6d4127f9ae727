//! `--explain`: why the result of a step was, or was not, known, in one line.
//!
//! A step that is not known is compared with the newest run of the same instruction, found by the weak key: either what it builds upon, or the files
//! it takes, must be others. What must stay true: explaining is a courtesy; whatever cannot be found out is left out, and no build fails by it.

use std::collections::BTreeMap;

use serde_json::Value;
use shipway_dockerfile::without_secrets;
use shipway_store::{CacheRecord, Store};

use crate::graph::Op;
use crate::key::{ContentKey, StepKey, TakenEntry, hex};
use crate::ops::changes::{self, Changes};
use crate::ops::select::SourceTree;
use crate::ops::selection::Selection;

/// So many names are listed; beyond it only their number.
const NAMED: usize = 3;

/// A step about to be looked up.
pub(crate) struct Question<'a> {
    pub(crate) op: &'a Op,
    pub(crate) key: &'a StepKey,
    pub(crate) below: &'a ContentKey,
    pub(crate) taken: &'a [Vec<TakenEntry>],
    pub(crate) selection: Option<&'a Selection>,
    pub(crate) context: Option<&'a dyn SourceTree>,
    /// What it builds upon is an image, not a step.
    pub(crate) on_image: bool,
}

/// The words for a result that was there.
pub(crate) fn known(store: &Store, key: &StepKey) -> String {
    match store.cache().lookup(&key.key) {
        Some(record) => format!("cached: made {}", record.created.to_rfc3339()),
        None => "cached".to_owned(),
    }
}

/// The words for one that another build is making at this moment.
pub(crate) fn shared() -> String {
    "cached: another build made it at the same time".to_owned()
}

/// The words for a step that is run again because that was asked for.
pub(crate) fn unasked() -> String {
    "not cached: the cache was not asked (--no-cache)".to_owned()
}

/// The words for a result that was not there.
pub(crate) fn unknown(store: &Store, question: &Question<'_>) -> String {
    match store.cache().latest_by_weak_key(&question.key.weak) {
        Some(former) => format!("not cached: {}", difference(store, &former, question)),
        None => match question.op {
            Op::Run(_) => "not cached: no build ran this command with these variables, this user and this folder before".to_owned(),
            _ => "not cached: no build had this instruction before".to_owned(),
        },
    }
}

fn difference(store: &Store, former: &CacheRecord, question: &Question<'_>) -> String {
    let mut reasons = Vec::new();
    if former.parts["tree"].as_str().is_some_and(|tree| tree != hex(question.below.bytes())) {
        reasons.push(if question.on_image {
            "it builds upon another base image than the last time".to_owned()
        } else {
            "the step before it gave another result than the last time".to_owned()
        });
    }
    if let Some(mut changes) = compared(&former.parts, question.taken) {
        if !changes.changed.is_empty()
            && let Some(inside) = looked_into(store, former, question)
        {
            changes = inside;
        }
        reasons.extend(told(&changes));
    }
    if reasons.is_empty() { "the last result is gone".to_owned() } else { reasons.join("; ") }
}

/// What changed inside the folders a COPY takes.
fn looked_into(store: &Store, former: &CacheRecord, question: &Question<'_>) -> Option<Changes> {
    let (Op::Copy(op), Some(selection), Some(context)) = (question.op, question.selection, question.context) else { return None };
    let changes = changes::of_folders(store, former.result.as_ref()?, op, selection, context)?;
    (changes != Changes::default()).then_some(changes)
}

/// What is new, gone and changed among the entries a COPY takes.
fn compared(parts: &Value, taken: &[Vec<TakenEntry>]) -> Option<Changes> {
    let recorded = parts["entries"].as_array()?;
    // A record that lists a part only would call the rest new.
    if parts["entry_count"].as_u64() != Some(recorded.len() as u64) {
        return None;
    }
    let mut former: BTreeMap<&str, &str> = recorded.iter().filter_map(|entry| Some((entry[0].as_str()?, entry[1].as_str()?))).collect();
    let mut changes = Changes::default();
    for entry in taken.iter().flatten() {
        let name = without_secrets(&String::from_utf8_lossy(&entry.name));
        match former.remove(name.as_str()) {
            None => changes.added.push(name),
            Some(known) if known != hex(&entry.digest) => changes.changed.push(name),
            Some(_) => {}
        }
    }
    changes.gone.extend(former.into_keys().map(str::to_owned));
    Some(changes)
}

/// `b changed, d new, c gone`; none when nothing differs.
fn told(changes: &Changes) -> Option<String> {
    let lists = [list(&changes.changed, "changed"), list(&changes.added, "new"), list(&changes.gone, "gone")];
    let told: Vec<String> = lists.into_iter().flatten().collect();
    (!told.is_empty()).then(|| told.join(", "))
}

/// `a.txt, b.txt and 7 more changed`; none for an empty list.
fn list(names: &[String], what: &str) -> Option<String> {
    let shown = names.iter().take(NAMED).map(|name| if name == "/" { "what is in the folder" } else { name });
    let shown = shown.collect::<Vec<_>>().join(", ");
    match names.len() {
        0 => None,
        count if count <= NAMED => Some(format!("{shown} {what}")),
        count => Some(format!("{shown} and {} more {what}", count - NAMED)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn entry(name: &str, digest: u8) -> TakenEntry {
        TakenEntry { name: name.as_bytes().to_vec(), digest: [digest; 32] }
    }

    fn recorded(entries: &[(&str, u8)], count: usize) -> Value {
        let entries: Vec<Value> = entries.iter().map(|(name, digest)| json!([name, hex(&[*digest; 32])])).collect();
        json!({ "entries": entries, "entry_count": count })
    }

    fn files(parts: &Value, taken: &[Vec<TakenEntry>]) -> Option<String> {
        told(&compared(parts, taken)?)
    }

    #[test]
    fn files_are_named_by_what_happened_to_them() {
        let before = recorded(&[("a", 1), ("b", 1), ("c", 1)], 3);
        let now = [vec![entry("a", 1), entry("b", 2)], vec![entry("d", 1)]];
        assert_eq!(files(&before, &now).as_deref(), Some("b changed, d new, c gone"));
        assert_eq!(files(&before, &[vec![entry("a", 1), entry("b", 1), entry("c", 1)]]), None);
        let many: Vec<TakenEntry> = ["e", "f", "g", "h", "i"].map(|name| entry(name, 1)).into_iter().collect();
        assert_eq!(files(&recorded(&[], 0), &[many]).as_deref(), Some("e, f, g and 2 more new"));
    }

    #[test]
    fn a_record_that_lists_a_part_only_is_not_compared() {
        assert_eq!(files(&recorded(&[("a", 1)], 9), &[vec![entry("b", 1)]]), None);
    }
}
