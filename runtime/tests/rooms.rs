//! Which room uses which: every path in the source of the runtime leads down, or stays in its room.
//!
//! A room is a folder of `runtime/src`, or a file there. The paths in a file, in `use` lines and in code, tell what it uses:
//! a path leads to the file of the deepest module that it names. Tests at a file's end may use anything. A call of a method
//! is no path: a method of a type stands in the type's room, or in a higher one if no lower one calls it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::{fs, mem};

use proc_macro2::{TokenStream, TokenTree};

/// The rooms from the top to the bottom, and which of those below each uses.
const ROOMS: [(&str, &str); 12] = [
    ("hook", "runtime wait sched body base"),
    ("runtime", "look thread time wait sched body base"),
    ("look", "sync wait sched body base"),
    ("future", "net thread wait sched base"),
    ("thread", "time sync wait sched base"),
    ("net", "wait sched base"),
    ("time", "wait base"),
    ("sync", "wait sched base"),
    ("wait", "sched base"),
    ("sched", "body base"),
    ("body", "base"),
    ("base", ""),
];

/// Files that use one of a higher room all the same: from which to which.
const EXCEPTIONS: [(&str, &str); 0] = [];

/// This many files of a room may use each other in a circle.
const LARGEST_CIRCLE: usize = 4;

/// The names of the runtime that the shims may use.
const DOORS: &str = "hook Patch blocking deadline futex";

/// Source files by their names without `.rs`.
type Sources = BTreeMap<String, String>;

/// Which file uses which, and the line of a path that says so.
type Arrows = BTreeMap<(String, String), usize>;

/// Adds the files in `folder`, each as its name behind `within`.
fn add_sources(folder: &Path, within: &str, sources: &mut Sources) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = format!("{within}{}", path.file_stem().unwrap().display());
        if path.is_dir() {
            add_sources(&path, &format!("{name}/"), sources);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            sources.insert(name, fs::read_to_string(path).unwrap());
        }
    }
}

fn sources(package: &str) -> Sources {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut sources = Sources::new();
    add_sources(&root.join(package).join("src"), "", &mut sources);
    sources
}

/// The paths in a file without its tests, each with its line; single words are among them.
fn paths(text: &str) -> Vec<(Vec<String>, usize)> {
    /// In the braces of a `use`, `stem` is what stands before them.
    fn add(stream: TokenStream, stem: &[String], found: &mut Vec<(Vec<String>, usize)>) {
        let mut branch_begins = true;
        let mut colons = 0;
        for token in stream {
            let leads_on = colons == 2;
            let line = token.span().start().line;
            let mut word = None;
            match &token {
                TokenTree::Punct(sign) if sign.as_char() == ':' => {
                    colons += 1;
                    continue;
                }
                TokenTree::Punct(sign) if sign.as_char() == ',' => branch_begins = true,
                TokenTree::Group(group) => {
                    let tree = found.pop_if(|_| leads_on).unwrap_or_default();
                    add(group.stream(), &tree.0, found);
                }
                TokenTree::Ident(_) => word = Some(token.to_string()),
                TokenTree::Punct(_) if leads_on => word = Some(token.to_string()),
                TokenTree::Punct(_) | TokenTree::Literal(_) => {}
            }
            colons = 0;
            let Some(word) = word else { continue };
            match found.last_mut() {
                Some((path, _)) if leads_on => path.push(word),
                _ if mem::take(&mut branch_begins) => {
                    found.push(([stem, &[word]].concat(), line));
                }
                _ => found.push((vec![word], line)),
            }
        }
    }
    let mut found = Vec::new();
    let without_tests = text.split("\nmod tests {").next().unwrap();
    add(without_tests.parse().unwrap(), &[], &mut found);
    found
}

/// The module that a file is, as names from the crate's root.
fn module(file: &str) -> Vec<&str> {
    let mut names: Vec<&str> = file.split('/').collect();
    names.pop_if(|last| ["mod", "lib"].contains(last));
    names
}

fn arrows(sources: &Sources) -> Arrows {
    let files: BTreeMap<Vec<&str>, &String> =
        sources.keys().map(|file| (module(file), file)).collect();
    let mut arrows = Arrows::new();
    for (file, text) in sources.iter().filter(|(file, _)| *file != "lib") {
        let here = module(file);
        for (names, line) in paths(text).iter().filter(|(names, _)| names.len() > 1) {
            let mut path = here.clone();
            let is_child = files.contains_key(&[&*here, &[&names[0]]].concat());
            if !is_child && !["crate", "super", "self"].contains(&names[0].as_str()) {
                continue;
            }
            for name in names {
                match name.as_str() {
                    "crate" => path.clear(),
                    "super" => drop(path.pop()),
                    "self" => {}
                    name => path.push(name),
                }
            }
            while !files.contains_key(&path) {
                path.pop();
            }
            if files[&path] != file {
                arrows.insert((file.clone(), files[&path].clone()), *line);
            }
        }
    }
    arrows
}

fn room(file: &str) -> &str {
    file.split('/').next().unwrap()
}

/// Adds the files that `from` uses, itself or by way of others.
fn reach<'a>(from: &str, arrows: &'a Arrows, reached: &mut BTreeSet<&'a str>) {
    for (_, to) in arrows.keys().filter(|(file, _)| file == from) {
        if reached.insert(to) {
            reach(to, arrows, reached);
        }
    }
}

/// What is wrong with the arrows, a line each.
fn faults(mut arrows: Arrows, exceptions: &[(&str, &str)]) -> BTreeSet<String> {
    let mut faults = BTreeSet::new();
    for &(from, to) in exceptions {
        if arrows.remove(&(from.to_owned(), to.to_owned())).is_none() {
            faults.insert(format!("{from} no longer uses {to}: it needs no exception"));
        }
    }
    for ((from, to), line) in &arrows {
        let (mine, other) = (room(from), room(to));
        let may_use =
            |row: &(&str, &str)| row.0 == mine && row.1.split(' ').any(|name| name == other);
        if mine != other && !ROOMS.iter().any(may_use) {
            let what = format!("{from}.rs:{line} uses {to}.rs");
            faults.insert(format!("{what}, but `{mine}` may not use `{other}`"));
        }
    }
    let mut reached: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (from, _) in arrows.keys() {
        reach(from, &arrows, reached.entry(from).or_default());
    }
    for (from, others) in &reached {
        let comes_back =
            |other: &&&str| reached.get(*other).is_some_and(|back| back.contains(from));
        let circle: Vec<&str> = others.iter().filter(comes_back).copied().collect();
        if circle.len() > LARGEST_CIRCLE {
            let (count, names) = (circle.len(), circle.join(", "));
            faults.insert(format!("{count} files use each other in a circle: {names}"));
        }
    }
    faults
}

fn check(faults: BTreeSet<String>) {
    let lines: Vec<String> = faults.into_iter().collect();
    assert!(lines.is_empty(), "faults:\n{}", lines.join("\n"));
}

#[test]
fn every_room_uses_the_rooms_of_its_row_which_are_below_it() {
    let arrows = arrows(&sources("runtime"));
    for (index, (name, used)) in ROOMS.iter().enumerate() {
        for other in used.split_terminator(' ') {
            let is_below = ROOMS[index + 1..].iter().any(|row| row.0 == other);
            assert!(is_below, "the row of `{name}` leads up to `{other}`");
            let is_such = |(from, to): &(String, String)| (room(from), room(to)) == (name, other);
            let is_used = arrows.keys().any(is_such);
            assert!(is_used, "`{name}` no longer uses `{other}`: mend its row");
        }
    }
    check(faults(arrows, &EXCEPTIONS));
}

#[test]
fn the_shims_come_in_by_the_doors() {
    let mut faults = BTreeSet::new();
    for (file, text) in sources("shims") {
        for (path, line) in paths(&text) {
            let leads_in = path[0] == "greenpatch_runtime" && path.len() > 1;
            if leads_in && !DOORS.split(' ').any(|door| door == path[1]) {
                let path = path.join("::");
                faults.insert(format!("shims/src/{file}.rs:{line} names {path}"));
            }
        }
    }
    check(faults);
}

/// The faults of these files beside some that others use.
fn faults_of(files: &[(&str, &str)], exceptions: &[(&str, &str)]) -> Vec<String> {
    let known = ["lib", "base/arch", "sched/green", "sched/park"].map(|file| (file, ""));
    let files = known.iter().chain(files);
    let sources = files.map(|(file, text)| ((*file).to_owned(), (*text).to_owned()));
    let faults = faults(arrows(&sources.collect()), exceptions);
    faults.into_iter().collect()
}

#[test]
fn the_check_names_file_and_line_of_what_leads_up() {
    let text = "use crate::{\n  base::arch,\n  sched::{green::{self, GreenRef as G}, park},\n};";
    let fault = |to| format!("body/slot.rs:3 uses {to}.rs, but `body` may not use `sched`");
    let expected = ["sched/green", "sched/park"].map(fault);
    assert_eq!(faults_of(&[("body/slot", text)], &[]), expected);
    for text in [
        "fn f() -> crate::sched::park::Park {}",
        "fn f() { g(super::super::sched::park::wake(1)) }",
        "pub use crate::sched::green::GreenRef;",
        "use crate::sched::green::*;",
        "use crate::spawn;",
    ] {
        assert_eq!(faults_of(&[("base/time", text)], &[]).len(), 1, "{text}");
    }
}

#[test]
fn the_check_takes_comments_texts_tests_and_arrows_down() {
    for text in [
        "//! `crate::sched::green`\nconst A: &str = \"crate::sched::green::A\";",
        "use crate::base::arch;\n\nmod tests {\n use crate::sched::green::A;\n}",
    ] {
        assert_eq!(faults_of(&[("body/slot", text)], &[]), [""; 0]);
    }
}

#[test]
fn the_check_takes_exceptions_that_are_needed() {
    let (text, exceptions) = ("use crate::sched::park;", [("body/slot", "sched/park")]);
    assert_eq!(faults_of(&[("body/slot", text)], &exceptions), [""; 0]);
    assert_eq!(faults_of(&[], &exceptions).len(), 1);
}

#[test]
fn the_check_finds_large_circles() {
    let circle = |length: usize| {
        let files = (0..length).map(|own| {
            let next = (own + 1) % length;
            (format!("wait/f{own}"), format!("use super::f{next};"))
        });
        faults(arrows(&files.collect()), &[]).len()
    };
    assert_eq!([4, 5].map(circle), [0, 1]);
}
