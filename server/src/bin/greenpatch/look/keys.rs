//! What is shown on the terminal, and what keys do to it. Nothing here knows of a terminal but for the keys.

use std::collections::BTreeSet;

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use super::frame::{Frame, View};
use super::rates::History;
use super::told::GreenThread;
use super::watch::Sample;

/// Lines that a page has if nobody has said how many there are.
const PAGE: usize = 10;

/// What fills the lower part of the screen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tab {
    Threads,
    Workers,
    Processes,
    Routes,
}

impl Tab {
    pub(super) const ALL: [Tab; 4] = [Tab::Threads, Tab::Workers, Tab::Processes, Tab::Routes];

    pub(super) fn title(self) -> &'static str {
        match self {
            Tab::Threads => "green threads",
            Tab::Workers => "workers",
            Tab::Processes => "processes",
            Tab::Routes => "routes",
        }
    }

    fn step(self, by: usize) -> Tab {
        let index = Tab::ALL.iter().position(|tab| *tab == self).unwrap_or(0);
        Tab::ALL[(index + by) % Tab::ALL.len()]
    }
}

/// A green thread that is looked at.
#[derive(Clone, Debug)]
pub(super) struct Detail {
    pub(super) process: u32,
    pub(super) id: u64,
    /// What was told; `None` until then.
    pub(super) told: Option<Result<GreenThread, String>>,
    /// Lines that are scrolled out at the top.
    pub(super) scrolled: usize,
}

/// What those who watch are told to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// To look at one green thread.
    LookAt { process: u32, id: u64 },
    /// To ask nobody, or to go on.
    Pause(bool),
    /// To ask now.
    Refresh,
}

/// The state of the screen.
#[derive(Debug)]
pub(super) struct App {
    history: History,
    sample: Option<Sample>,
    pub(super) frame: Frame,
    pub(super) view: View,
    pub(super) tab: Tab,
    /// The row that is marked, from 0.
    pub(super) row: usize,
    /// The first row that is shown; kept by who draws.
    pub(super) offset: usize,
    /// The rows that fit.
    pub(super) page: usize,
    pub(super) is_filter_edited: bool,
    pub(super) detail: Option<Detail>,
    pub(super) is_paused: bool,
    pub(super) has_help: bool,
    /// Why nothing new comes any more.
    pub(super) end: Option<String>,
    pub(super) is_over: bool,
}

impl App {
    pub(super) fn new(view: View) -> App {
        App {
            history: History::default(),
            sample: None,
            frame: Frame::default(),
            view,
            tab: Tab::Threads,
            row: 0,
            offset: 0,
            page: PAGE,
            is_filter_edited: false,
            detail: None,
            is_paused: false,
            has_help: false,
            end: None,
            is_over: false,
        }
    }

    /// Something was told.
    pub(super) fn hear(&mut self, sample: Sample) {
        self.history.add(&sample);
        self.sample = Some(sample);
        self.renew();
    }

    /// A green thread was looked at.
    pub(super) fn hear_of(&mut self, process: u32, id: u64, told: Result<GreenThread, String>) {
        let detail = self.detail.as_mut();
        if let Some(detail) = detail.filter(|detail| (detail.process, detail.id) == (process, id)) {
            detail.told = Some(told);
        }
    }

    /// Makes the frame anew; the green thread that is marked stays so, wherever it comes to stand.
    fn renew(&mut self) {
        let Some(sample) = &self.sample else { return };
        let marked = self.marked();
        self.frame = Frame::new(sample, &self.history, &self.view);
        let threads = &self.frame.threads;
        let place = threads
            .iter()
            .position(|it| Some((it.process, it.id)) == marked);
        if let Some(place) = place.filter(|_| self.tab == Tab::Threads) {
            self.row = place;
        }
        self.row = self.row.min(self.rows().saturating_sub(1));
    }

    /// The green thread that is marked.
    fn marked(&self) -> Option<(u32, u64)> {
        match self.tab {
            Tab::Threads => {
                let thread = self.frame.threads.get(self.row)?;
                Some((thread.process, thread.id))
            }
            Tab::Workers => {
                let worker = self.frame.workers.get(self.row)?;
                Some((worker.process, worker.green_thread?))
            }
            Tab::Processes | Tab::Routes => None,
        }
    }

    /// How many rows the tab has.
    pub(super) fn rows(&self) -> usize {
        match self.tab {
            Tab::Threads => self.frame.threads.len(),
            Tab::Workers => self.frame.workers.len(),
            Tab::Processes => self.frame.processes.len(),
            Tab::Routes => self.frame.routes.len(),
        }
    }

    /// The rows that are hogs.
    pub(super) fn hogs(&self) -> BTreeSet<usize> {
        let are_hogs: Vec<bool> = match self.tab {
            Tab::Threads => self.frame.threads.iter().map(|it| it.is_hog).collect(),
            Tab::Workers => self.frame.workers.iter().map(|it| it.is_hog).collect(),
            Tab::Processes | Tab::Routes => Vec::new(),
        };
        let rows = are_hogs.into_iter().enumerate();
        rows.filter_map(|(row, is_hog)| is_hog.then_some(row))
            .collect()
    }

    /// A key was pressed.
    pub(super) fn press(&mut self, key: KeyEvent) -> Option<Order> {
        if key.kind == KeyEventKind::Release {
            return None;
        }
        if key.modifiers.contains(KeyModifiers::CONTROL) {
            match key.code {
                KeyCode::Char('c') => self.is_over = true,
                KeyCode::Char('u') if self.is_filter_edited => {
                    self.view.filter.clear();
                    self.renew();
                }
                _ => {}
            }
            return None;
        }
        if self.is_filter_edited {
            self.edit_filter(key.code);
            return None;
        }
        if self.has_help {
            // Any key closes it; those that end do so as well.
            self.has_help = false;
            self.is_over = key.code == KeyCode::Char('q');
            return None;
        }
        if self.detail.is_some() {
            return self.press_in_detail(key.code);
        }
        self.press_in_table(key.code)
    }

    fn edit_filter(&mut self, key: KeyCode) {
        match key {
            KeyCode::Char(character) => self.view.filter.push(character),
            KeyCode::Backspace => drop(self.view.filter.pop()),
            KeyCode::Enter => self.is_filter_edited = false,
            KeyCode::Esc => {
                self.view.filter.clear();
                self.is_filter_edited = false;
            }
            _ => return,
        }
        self.renew();
    }

    fn press_in_detail(&mut self, key: KeyCode) -> Option<Order> {
        let page = self.page.max(1);
        let detail = self.detail.as_mut()?;
        match key {
            KeyCode::Char('q') => self.is_over = true,
            KeyCode::Esc | KeyCode::Enter | KeyCode::Backspace => self.detail = None,
            KeyCode::Char('?') => self.has_help = true,
            KeyCode::Char('r') => {
                detail.told = None;
                let (process, id) = (detail.process, detail.id);
                return Some(Order::LookAt { process, id });
            }
            KeyCode::Up | KeyCode::Char('k') => {
                detail.scrolled = detail.scrolled.saturating_sub(1);
            }
            KeyCode::Down | KeyCode::Char('j') => detail.scrolled += 1,
            KeyCode::PageUp => detail.scrolled = detail.scrolled.saturating_sub(page),
            KeyCode::PageDown => detail.scrolled += page,
            KeyCode::Home => detail.scrolled = 0,
            _ => {}
        }
        None
    }

    fn press_in_table(&mut self, key: KeyCode) -> Option<Order> {
        let last = self.rows().saturating_sub(1);
        let page = self.page.max(1);
        match key {
            KeyCode::Char('q') => self.is_over = true,
            KeyCode::Char('?' | 'h') => self.has_help = true,
            KeyCode::Char('/') => {
                self.show(Tab::Threads);
                self.is_filter_edited = true;
            }
            KeyCode::Esc => {
                self.view.filter.clear();
                self.renew();
            }
            KeyCode::Char('s') => {
                self.view.sort = self.view.sort.next();
                self.view.is_reversed = false;
                self.sorted();
            }
            KeyCode::Char('S') => {
                self.view.is_reversed = !self.view.is_reversed;
                self.sorted();
            }
            KeyCode::Char('p' | ' ') => {
                self.is_paused = !self.is_paused;
                return Some(Order::Pause(self.is_paused));
            }
            KeyCode::Char('r') => return Some(Order::Refresh),
            KeyCode::Tab | KeyCode::Right => self.show(self.tab.step(1)),
            KeyCode::BackTab | KeyCode::Left => self.show(self.tab.step(Tab::ALL.len() - 1)),
            KeyCode::Char(digit @ '1'..='4') => {
                self.show(Tab::ALL[digit as usize - '1' as usize]);
            }
            KeyCode::Up | KeyCode::Char('k') => self.row = self.row.saturating_sub(1),
            KeyCode::Down | KeyCode::Char('j') => self.row = (self.row + 1).min(last),
            KeyCode::PageUp => self.row = self.row.saturating_sub(page),
            KeyCode::PageDown => self.row = (self.row + page).min(last),
            KeyCode::Home | KeyCode::Char('g') => self.row = 0,
            KeyCode::End | KeyCode::Char('G') => self.row = last,
            KeyCode::Enter => {
                let (process, id) = self.marked()?;
                self.detail = Some(Detail {
                    process,
                    id,
                    told: None,
                    scrolled: 0,
                });
                return Some(Order::LookAt { process, id });
            }
            _ => {}
        }
        None
    }

    fn show(&mut self, tab: Tab) {
        if tab != self.tab {
            self.tab = tab;
            self.row = 0;
            self.offset = 0;
        }
    }

    /// The order has changed: the first row is what was asked for.
    fn sorted(&mut self) {
        self.show(Tab::Threads);
        self.renew();
        self.row = 0;
        self.offset = 0;
    }
}

/// What the keys do, for people.
pub(super) const HELP: [(&str, &str); 12] = [
    ("q, ctrl-c", "end"),
    ("up, down, k, j", "mark another row"),
    ("pgup, pgdn, home, end", "the same, faster"),
    ("tab, 1 to 4", "green threads, workers, processes, routes"),
    (
        "enter",
        "look at the marked green thread, with its call stack;",
    ),
    ("", "if it computes, its OS thread is sent SIGURG for that"),
    ("r", "ask again now"),
    ("esc", "back; or show all green threads again"),
    ("/", "show only green threads that hold a text"),
    (
        "s, S",
        "order by time, id, name, state, stack; reverse the order",
    ),
    ("p, space", "ask no more, or go on"),
    ("?", "this page; any key leaves it"),
];

/// What can be ordered by, for the line at the bottom.
pub(super) fn order(view: &View) -> String {
    let direction = if view.is_reversed { ", reversed" } else { "" };
    format!("by {}{direction}", view.sort.name())
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::look::frame::Sort;
    use crate::look::told::Runtime;
    use crate::look::watch::Process;

    fn app(threads: usize) -> App {
        let mut app = App::new(View {
            sort: Sort::Id,
            is_reversed: false,
            filter: String::new(),
        });
        app.hear(sample(1..=threads as u64));
        app
    }

    fn sample(ids: impl Iterator<Item = u64>) -> Sample {
        let green_threads = ids.map(|id| GreenThread {
            id,
            name: Some(format!("thread-{id}")),
            ..GreenThread::default()
        });
        Sample {
            at: Instant::now(),
            processes: vec![Process {
                process: 7,
                runtimes: vec![Runtime {
                    green_threads: green_threads.collect(),
                    ..Runtime::default()
                }],
                ..Process::default()
            }],
            troubles: Vec::new(),
        }
    }

    fn press(app: &mut App, keys: &str) -> Option<Order> {
        let mut order = None;
        for key in keys.chars() {
            let code = match key {
                '\n' => KeyCode::Enter,
                '\u{1b}' => KeyCode::Esc,
                '\t' => KeyCode::Tab,
                other => KeyCode::Char(other),
            };
            order = app.press(KeyEvent::new(code, KeyModifiers::NONE));
        }
        order
    }

    #[test]
    fn the_marked_green_thread_stays_marked_when_others_come_and_go() {
        let mut app = app(5);
        press(&mut app, "jj");
        assert_eq!(app.marked(), Some((7, 3)));
        app.hear(sample([3, 4, 9].into_iter()));
        assert_eq!(app.marked(), Some((7, 3)));
        app.hear(sample([9].into_iter()));
        assert_eq!(app.marked(), Some((7, 9)));
        app.hear(sample([].into_iter()));
        assert_eq!(app.marked(), None);
        assert_eq!(press(&mut app, "\n"), None);
    }

    #[test]
    fn a_filter_is_typed_kept_and_cleared() {
        let mut app = app(20);
        press(&mut app, "/thread-2q");
        assert_eq!(app.frame.threads.len(), 0, "q is a letter here");
        app.press(KeyEvent::new(KeyCode::Backspace, KeyModifiers::NONE));
        press(&mut app, "\n");
        let ids: Vec<u64> = app.frame.threads.iter().map(|it| it.id).collect();
        assert_eq!(ids, [2, 20]);
        press(&mut app, "\u{1b}");
        assert_eq!(app.frame.threads.len(), 20);
        press(&mut app, "q");
        assert!(app.is_over);
    }

    #[test]
    fn enter_looks_at_the_marked_green_thread_until_it_is_left() {
        let mut app = app(3);
        let order = press(&mut app, "j\n");
        assert_eq!(order, Some(Order::LookAt { process: 7, id: 2 }));
        app.hear_of(7, 3, Err("another one".to_owned()));
        assert!(app.detail.as_ref().is_some_and(|it| it.told.is_none()));
        app.hear_of(7, 2, Err("it has ended".to_owned()));
        assert!(app.detail.as_ref().is_some_and(|it| it.told.is_some()));
        press(&mut app, "\u{1b}");
        assert!(app.detail.is_none() && !app.is_over);
    }

    #[test]
    fn tabs_orders_pause_and_help_have_their_keys() {
        let mut app = app(3);
        press(&mut app, "\t");
        assert_eq!(app.tab, Tab::Workers);
        press(&mut app, "4");
        assert_eq!(app.tab, Tab::Routes);
        press(&mut app, "S");
        assert_eq!((app.tab, app.frame.threads[0].id), (Tab::Threads, 3));
        press(&mut app, "s");
        assert_eq!(order(&app.view), "by name");
        assert_eq!(press(&mut app, "p"), Some(Order::Pause(true)));
        assert_eq!(press(&mut app, " "), Some(Order::Pause(false)));
        press(&mut app, "?");
        assert!(app.has_help);
        press(&mut app, "x");
        assert!(!app.has_help && !app.is_over);
    }
}
