//! The spans that a program has open: their names, fields and parents.
//!
//! All are in one map under one lock, which is held for a few instructions and never while user code runs. Which of them a
//! thread is in, it keeps in thread-local storage; green threads have their own.
//!
//! A span lives while somebody holds it: the program's handles, and the spans inside it.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata};
use tracing_core::span::Current;

use super::fields::Fields;

thread_local! {
    /// The spans that this thread is in, the innermost last.
    static ENTERED: RefCell<Vec<u64>> = const { RefCell::new(Vec::new()) };
}

#[derive(Debug, Default)]
pub(super) struct Spans(Mutex<Open>);

#[derive(Debug, Default)]
struct Open {
    /// The number of the last one that was opened; none is used twice.
    last: u64,
    spans: HashMap<u64, Span>,
}

#[derive(Debug)]
struct Span {
    metadata: &'static Metadata<'static>,
    fields: Fields,
    parent: Option<u64>,
    holders: usize,
}

impl Spans {
    pub(super) fn open(&self, attributes: &Attributes<'_>) -> Id {
        let parent = match attributes.parent() {
            Some(parent) => Some(parent.into_u64()),
            None if attributes.is_contextual() => innermost(),
            None => None,
        };
        let span = Span {
            metadata: attributes.metadata(),
            fields: Fields::of_span(attributes),
            parent,
            holders: 1,
        };
        let mut open = self.lock();
        if let Some(parent) = parent.and_then(|parent| open.spans.get_mut(&parent)) {
            parent.holders += 1;
        }
        open.last += 1;
        let number = open.last;
        open.spans.insert(number, span);
        Id::from_u64(number)
    }

    pub(super) fn record(&self, span: &Id, values: &Record<'_>) {
        let fields = Fields::of_record(values);
        if let Some(span) = self.lock().spans.get_mut(&span.into_u64()) {
            span.fields.update(fields);
        }
    }

    pub(super) fn hold(&self, span: &Id) {
        if let Some(span) = self.lock().spans.get_mut(&span.into_u64()) {
            span.holders += 1;
        }
    }

    /// Says whether that was the last who held it.
    pub(super) fn let_go(&self, span: &Id) -> bool {
        let mut closed = Vec::new();
        let mut open = self.lock();
        let mut next = Some(span.into_u64());
        while let Some(number) = next.take()
            && let Some(span) = open.spans.get_mut(&number)
        {
            span.holders -= 1;
            if span.holders == 0 {
                next = span.parent;
                closed.extend(open.spans.remove(&number));
            }
        }
        drop(open);
        !closed.is_empty()
    }

    pub(super) fn enter(&self, span: &Id) {
        let number = span.into_u64();
        let _ = ENTERED.try_with(|entered| entered.borrow_mut().push(number));
    }

    pub(super) fn exit(&self, span: &Id) {
        let number = span.into_u64();
        let _ = ENTERED.try_with(|entered| {
            let mut entered = entered.borrow_mut();
            if let Some(at) = entered.iter().rposition(|it| *it == number) {
                entered.remove(at);
            }
        });
    }

    pub(super) fn current(&self) -> Current {
        let Some(number) = innermost() else {
            return Current::none();
        };
        match self.lock().spans.get(&number) {
            Some(span) => Current::new(Id::from_u64(number), span.metadata),
            None => Current::none(),
        }
    }

    /// Calls `each` with the name and the fields of each span that the event is in, the outermost first.
    pub(super) fn of_event(&self, event: &Event<'_>, mut each: impl FnMut(&str, &Fields)) {
        let mut next = match event.parent() {
            Some(parent) => Some(parent.into_u64()),
            None if event.is_contextual() => innermost(),
            None => None,
        };
        if next.is_none() {
            return;
        }
        let open = self.lock();
        let mut path = Vec::new();
        while let Some(span) = next.and_then(|number| open.spans.get(&number)) {
            path.push(span);
            next = span.parent;
        }
        for span in path.into_iter().rev() {
            each(span.metadata.name(), &span.fields);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn innermost() -> Option<u64> {
    let last = ENTERED.try_with(|entered| entered.borrow().last().copied());
    last.ok().flatten()
}

#[cfg(test)]
impl Spans {
    /// How many are open.
    pub(super) fn count(&self) -> usize {
        self.lock().spans.len()
    }
}
