//! Somebody else's chain, read as it is and made again in a table of ours, at another place of a packet's way.
//!
//! Rules and elements are copied as the kernel tells them, unread but for the names of the sets and chains they lead to: so a copy decides as its
//! original does. What must stay true: nothing of theirs is changed; a copy that the kernel refuses is reported, never half made.

use std::collections::{BTreeMap, BTreeSet};

use super::super::{Attributes, CREATE, DUMP, Request, Socket, attribute, text_of};
use super::list::BaseChain;
use super::{APPEND, Batch, GET_ELEMENT, GET_RULE, GET_SET, NEW_ELEMENT, NEW_RULE, NEW_SET, big_of, head};
use crate::Error;

/// Numbers of copied sets within their batch start here, above our own.
const FIRST_ID: u32 = 1000;
/// Attributes of a set that make it what it is; the others say where it is.
const SET_TRAITS: [u16; 11] = [4, 5, 6, 7, 8, 9, 11, 12, 13, 17, 18];
const ANONYMOUS_OR_CONSTANT: u32 = 1 | 2;

/// A base chain of somebody else with everything it leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copy {
    /// The chain it starts at.
    pub start: String,
    family: u8,
    sets: Vec<RawSet>,
    chains: BTreeSet<String>,
    rules: Vec<RawRule>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct RawSet {
    name: String,
    flags: u32,
    traits: Vec<(u16, Vec<u8>)>,
    /// Lists of elements, a message each.
    elements: Vec<Vec<u8>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct RawRule {
    chain: String,
    expressions: Vec<Vec<u8>>,
}

impl Copy {
    /// True when the chain decides nothing.
    pub fn has_no_rules(&self) -> bool {
        self.rules.is_empty()
    }

    /// The family of its table, as [`Batch::turn_to`](super::Batch::turn_to) wants it.
    pub fn family(&self) -> u8 {
        self.family
    }

    /// Adds its sets, chains and rules to the batch's table.
    pub fn write(&self, batch: &mut Batch) {
        for (index, set) in self.sets.iter().enumerate() {
            batch.request.message("copy set", NEW_SET, CREATE, &head(self.family, 0));
            batch.request.text(1, &batch.table);
            batch.request.text(2, &set.name);
            batch.request.big(3, set.flags & !ANONYMOUS_OR_CONSTANT);
            for (kind, value) in &set.traits {
                batch.request.attribute(*kind, value);
            }
            batch.request.big(10, FIRST_ID + index as u32);
        }
        for chain in &self.chains {
            batch.add_chain(chain, None);
        }
        for set in &self.sets {
            for elements in &set.elements {
                batch.request.message("copy elements", NEW_ELEMENT, CREATE, &head(self.family, 0));
                batch.request.text(1, &batch.table);
                batch.request.text(2, &set.name);
                batch.request.nest(3, |list| list.raw(elements));
            }
        }
        for rule in &self.rules {
            batch.request.message("copy rule", NEW_RULE, CREATE | APPEND, &head(self.family, 0));
            batch.request.text(1, &batch.table);
            batch.request.text(2, &rule.chain);
            batch
                .request
                .nest(4, |list| rule.expressions.iter().for_each(|expression| list.nest(1, |item| write_expression(item, expression))));
            if let Some(protocol) = transport(&rule.expressions) {
                // Extensions of xtables ask for the transport beside the rule; the kernel does not tell it again.
                batch.request.nest(5, |compat| {
                    compat.big(1, protocol);
                    compat.big(2, 0);
                });
            }
        }
    }
}

impl Socket {
    /// Reads a base chain and all it leads to.
    pub fn copy_chain(&self, chain: &BaseChain) -> Result<Copy, Error> {
        let family = match chain.family.as_str() {
            "ip" => 2,
            "ip6" => 10,
            _ => super::INET,
        };
        let mut rules: BTreeMap<String, Vec<RawRule>> = BTreeMap::new();
        self.dump(ask("list rules", GET_RULE, family, &chain.table), |kind, body| {
            let rest = body.get(4..).unwrap_or_default();
            let (true, Some(of), Some(list)) = (
                kind == NEW_RULE && attribute(rest, 1).map(text_of).as_deref() == Some(&chain.table),
                attribute(rest, 2),
                attribute(rest, 4),
            ) else {
                return;
            };
            let expressions = Attributes(list).map(|(_, expression)| expression.to_vec()).collect();
            let chain = text_of(of);
            rules.entry(chain.clone()).or_default().push(RawRule { chain, expressions });
        })?;
        let mut sets: BTreeMap<String, RawSet> = BTreeMap::new();
        self.dump(ask("list sets", GET_SET, family, &chain.table), |kind, body| {
            let rest = body.get(4..).unwrap_or_default();
            if let (true, Some(name)) = (kind == NEW_SET, attribute(rest, 2).map(text_of)) {
                let traits =
                    Attributes(rest).filter(|(kind, _)| SET_TRAITS.contains(kind)).map(|(kind, value)| (kind, value.to_vec())).collect();
                let flags = attribute(rest, 3).and_then(big_of).unwrap_or(0);
                sets.insert(name.clone(), RawSet { name, flags, traits, elements: Vec::new() });
            }
        })?;
        let mut copy = Copy { start: chain.chain.clone(), family, sets: Vec::new(), chains: BTreeSet::new(), rules: Vec::new() };
        let mut open = vec![chain.chain.clone()];
        while let Some(name) = open.pop() {
            if !copy.chains.insert(name.clone()) {
                continue;
            }
            for rule in rules.remove(&name).unwrap_or_default() {
                for expression in &rule.expressions {
                    open.extend(jump_of(expression));
                    if let Some(mut set) = set_of(expression).and_then(|set| sets.remove(&set)) {
                        set.elements = self.elements_of(family, &chain.table, &set.name)?;
                        open.extend(set.elements.iter().flat_map(|list| jumps_of_elements(list)));
                        copy.sets.push(set);
                    }
                }
                copy.rules.push(rule);
            }
        }
        Ok(copy)
    }

    fn elements_of(&self, family: u8, table: &str, set: &str) -> Result<Vec<Vec<u8>>, Error> {
        let mut request = ask("list elements", GET_ELEMENT, family, table);
        request.text(2, set);
        let mut lists = Vec::new();
        self.dump(request, |kind, body| {
            if let (NEW_ELEMENT, Some(list)) = (kind, body.get(4..).and_then(|rest| attribute(rest, 3))) {
                lists.push(list.to_vec());
            }
        })?;
        Ok(lists)
    }
}

fn ask(doing: &'static str, kind: u16, family: u8, table: &str) -> Request {
    let mut request = Request::new();
    request.message(doing, kind, DUMP, &head(family, 0));
    request.text(1, table);
    request
}

/// The name and the fields of an expression.
fn parts(expression: &[u8]) -> (String, &[u8]) {
    (attribute(expression, 1).map(text_of).unwrap_or_default(), attribute(expression, 2).unwrap_or_default())
}

fn jump_of(expression: &[u8]) -> Option<String> {
    let (name, fields) = parts(expression);
    let data = attribute(fields, 2).filter(|_| name == "immediate")?;
    attribute(data, 2).and_then(|verdict| attribute(verdict, 2)).map(text_of)
}

fn set_of(expression: &[u8]) -> Option<String> {
    let (name, fields) = parts(expression);
    attribute(fields, 1).map(text_of).filter(|_| name == "lookup" || name == "dynset")
}

fn jumps_of_elements(list: &[u8]) -> Vec<String> {
    let verdict = |element| attribute(element, 2).and_then(|data| attribute(data, 2)).and_then(|verdict| attribute(verdict, 2));
    Attributes(list).filter_map(|(_, element)| verdict(element).map(text_of)).collect()
}

/// As it is, but for the REJECT of xtables, which only works where the packet's way has been decided: dropped here.
fn write_expression(out: &mut Request, expression: &[u8]) {
    let (name, fields) = parts(expression);
    if name == "target" && attribute(fields, 1).map(text_of).as_deref() == Some("REJECT") {
        super::Expression::Verdict(super::Verdict::Drop).write(out);
    } else {
        out.raw(expression);
    }
}

/// The transport that a rule with an extension of xtables compares with before.
fn transport(expressions: &[Vec<u8>]) -> Option<u32> {
    const META_TRANSPORT: u32 = 16;
    const IPV4_TRANSPORT: u32 = 9;
    let all: Vec<(String, &[u8])> = expressions.iter().map(|expression| parts(expression)).collect();
    if !all.iter().any(|(name, _)| name == "match" || name == "target") {
        return None;
    }
    let loads = |name: &str, fields: &[u8]| match name {
        "meta" => attribute(fields, 2).and_then(big_of) == Some(META_TRANSPORT),
        "payload" => attribute(fields, 2).and_then(big_of) == Some(1) && attribute(fields, 3).and_then(big_of) == Some(IPV4_TRANSPORT),
        _ => false,
    };
    all.windows(2).find_map(|pair| {
        let [(load, what), (compare, with)] = pair else { return None };
        let value = attribute(with, 3).and_then(|data| attribute(data, 1)).filter(|_| compare == "cmp" && loads(load, what))?;
        value.first().copied().map(u32::from)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jumps_and_sets_are_found_in_raw_expressions() {
        let mut request = Request::new();
        request.message("x", 0, 0, &[]);
        super::super::Expression::Verdict(super::super::Verdict::Jump("elsewhere")).write(&mut request);
        let bytes = request.finished()[16..].to_vec();
        assert_eq!(jump_of(&bytes), Some("elsewhere".to_owned()));
        let mut request = Request::new();
        request.message("x", 0, 0, &[]);
        super::super::Expression::In { set: "wanted", id: 1, key: super::super::Register::FIRST }.write(&mut request);
        let bytes = request.finished()[16..].to_vec();
        assert_eq!((set_of(&bytes), jump_of(&bytes)), (Some("wanted".to_owned()), None));
    }
}
