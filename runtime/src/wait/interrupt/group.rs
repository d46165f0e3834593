//! What a scope hands to the green threads that are spawned in it.
//!
//! A [`Group`] is what [`scope`](crate::scope) and [`try_scope`](crate::try_scope) open. It holds the scopes around it, so that
//! its members look at the very same deadlines and cancellations as whoever has opened it, and mark the same one when its time
//! has cut them short. A member looks; it is told when to, by the lists of `sched/dependents.rs`: a group stands in those of its
//! owner, of the nearest group around it and of the pieces of work up to that one, and a member in that of its group. It does not
//! stand in those of the groups further out, which tell the nearest one: each would tell it anew by every way there is, and
//! the ways double with each group.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::cancellable::Cancellable;
use super::inherited::{self, Binding};
use super::scopes::{Entered, Kind, Scope, any_scope, is_in_none};
use crate::sched::context;
use crate::sched::dependents::{Attached, Cancelled, Dependent, Dependents};
use crate::sched::task::{Task, state};

/// See the module's page.
pub(crate) struct Group {
    is_cancelled: AtomicBool,
    /// Who has opened it, if that is a green thread; its waits in the scope end with those of the members.
    owner: Option<Arc<dyn Task>>,
    /// It was opened in a shield: the owner's own cancellation does not concern it.
    is_shielded: bool,
    /// The scopes around it, the innermost first, out to the nearest shield.
    outer: Vec<Arc<Scope>>,
    values: Option<Arc<[Binding]>>,
    dependents: Dependents,
}

impl Group {
    pub(super) fn outer(&self) -> &[Arc<Scope>] {
        &self.outer
    }

    /// The values that were bound where it was opened.
    pub(super) fn values(&self) -> &[Binding] {
        self.values.as_deref().unwrap_or_default()
    }

    /// Whether it was cancelled, or whoever has opened it. What is around it is not asked.
    pub(crate) fn is_cancelled(&self) -> bool {
        let owner = self.owner.as_deref().filter(|_| !self.is_shielded);
        self.is_cancelled.load(Ordering::Acquire)
            || owner.is_some_and(|owner| {
                owner.header().state.load(Ordering::Acquire) & state::CANCELLED != 0
            })
    }

    /// Cuts the waits of the members short, and those of the owner in the scope. False if that was done before.
    pub(crate) fn cancel(&self) -> bool {
        let is_first = !self.is_cancelled.swap(true, Ordering::AcqRel);
        if is_first {
            if let Some(owner) = &self.owner {
                owner.header().end_wait();
            }
            self.dependents.look_again();
        }
        is_first
    }
}

impl Cancelled for Group {
    fn dependents(&self) -> &Dependents {
        &self.dependents
    }
}

impl Dependent for Group {
    fn look_again(&self) -> Option<&Dependents> {
        Some(&self.dependents)
    }
}

/// What a group depends on.
enum Source {
    Task(Arc<dyn Task>),
    Work(Arc<Cancellable>),
    Group(Arc<Group>),
}

impl Cancelled for Source {
    fn dependents(&self) -> &Dependents {
        match self {
            Source::Task(task) => task.header().dependents(),
            Source::Work(work) => work.dependents(),
            Source::Group(group) => group.dependents(),
        }
    }
}

/// A group of which the calling thread is the owner, until this is dropped.
pub(crate) struct OpenGroup {
    group: Arc<Group>,
    _attached: Vec<Attached<Source>>,
    _entered: Entered,
}

impl OpenGroup {
    pub(crate) fn new() -> OpenGroup {
        let mut outer = Vec::new();
        let mut sources = Vec::new();
        let mut is_in_group = false;
        let is_shielded = any_scope(|scope| {
            match &scope.kind {
                Kind::Until(_) => outer.push(scope.clone()),
                Kind::Cancellable(work) => {
                    outer.push(scope.clone());
                    if !is_in_group {
                        sources.push(Source::Work(work.clone()));
                    }
                }
                Kind::Group(group) | Kind::Member(group) => {
                    outer.push(scope.clone());
                    if !is_in_group {
                        sources.push(Source::Group(group.clone()));
                    }
                    is_in_group = true;
                }
                Kind::Shield | Kind::Value(_) | Kind::Values(_) => {}
            }
            scope.is_shield()
        });
        let owner = context::green().map(|green| green.life().task.clone());
        if !is_shielded {
            sources.extend(owner.clone().map(Source::Task));
        }
        let group = Arc::new(Group {
            is_cancelled: AtomicBool::new(false),
            owner,
            is_shielded,
            outer,
            values: inherited::bound(),
            dependents: Dependents::none(),
        });
        let attach = |source| Attached::new(source, group.clone() as Arc<dyn Dependent>);
        OpenGroup {
            _attached: sources.into_iter().map(attach).collect(),
            _entered: Scope::enter(Kind::Group(group.clone())),
            group,
        }
    }

    pub(crate) fn group(&self) -> &Arc<Group> {
        &self.group
    }
}

/// What a new green thread has of its spawner.
#[derive(Clone)]
pub(crate) enum Inheritance {
    /// The values that are bound, no more.
    Values(Arc<[Binding]>),
    /// Deadlines, cancellation and values of a group.
    Group(Arc<Group>),
}

impl Inheritance {
    /// Of a green thread that goes on by itself: the values that are bound here, if there are any.
    #[inline]
    pub(crate) fn detached() -> Option<Inheritance> {
        if is_in_none() {
            None
        } else {
            inherited::bound().map(Inheritance::Values)
        }
    }

    /// On the new green thread: it has this until what is given is dropped.
    #[inline(never)]
    pub(crate) fn enter(self) -> EnteredInheritance {
        let (kind, attached) = match self {
            Inheritance::Values(values) => (Kind::Values(values), None),
            Inheritance::Group(group) => {
                let green = context::green().expect("a new green thread runs this");
                let task: Arc<dyn Dependent> = green.life().task.clone();
                // First in the list, then a look at the group: see `dependents.rs`.
                let attached = Attached::new(Source::Group(group.clone()), task);
                (Kind::Member(group), Some(attached))
            }
        };
        EnteredInheritance {
            _attached: attached,
            _entered: Scope::enter(kind),
        }
    }
}

/// See [`Inheritance::enter`].
pub(crate) struct EnteredInheritance {
    _attached: Option<Attached<Source>>,
    _entered: Entered,
}
