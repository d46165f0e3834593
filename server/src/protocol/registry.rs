//! Every connection of a worker, what it is at, and since when.
//!
//! hyper owns a connection's stream; whoever looks after it from outside (the sweep, a drain) has its [`Connection`] here: the
//! socket, a few words that tell how far it is, and a way to wake its task. The words are written where things happen and
//! read by the [sweep](super::sweep), so no request sets a timer.
//!
//! A connection is **idle** while no exchange is under way in it, and what it has received has not changed since the last
//! one ended; **in a head** when that has changed; **busy** while it has exchanges. So no call into hyper is needed to tell.
//!
//! It is counted from its accept until nobody can use its stream any more, an upgraded one too.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::Waker;
use std::time::Duration;

use http::StatusCode;
use hyper::body::Incoming;
use tokio::sync::Notify;

use super::clock::{AtomicMoment, Clock, Moment};
use super::exchange::Exchange;
use super::farewell::Farewell;
use super::refusal::Refusal;
use super::stream::Socket;
use crate::observe::{Observer, OpenConnection};

/// How long a connection has been idle before it makes room for another one. A client that thinks for less has perhaps just sent
/// its next request.
const LEAST_IDLE: Duration = Duration::from_secs(1);

/// The connections of one worker.
pub(crate) struct Registry {
    pub(crate) clock: Clock,
    /// Connections that may be open at once.
    most: usize,
    connections: Mutex<Places>,
    /// As many as `connections` has; written under its lock.
    open: AtomicUsize,
    /// A connection has come.
    came: Notify,
    /// A connection has ended.
    ended: Notify,
    /// When the drain began.
    draining: AtomicMoment,
    observer: Arc<Observer>,
}

/// Places that are used again, so that a sweep goes over an array.
#[derive(Default)]
struct Places {
    taken: Vec<Option<Arc<Connection>>>,
    free: Vec<usize>,
}

impl Registry {
    /// An empty one, for so many connections.
    pub(crate) fn new(most: usize, observer: Arc<Observer>) -> Registry {
        Registry {
            clock: Clock::new(),
            most,
            connections: Mutex::default(),
            open: AtomicUsize::new(0),
            came: Notify::new(),
            ended: Notify::new(),
            draining: AtomicMoment::default(),
            observer,
        }
    }

    /// Enters a connection that was accepted just now.
    pub(crate) fn enter(self: &Arc<Self>, socket: Arc<Socket>) -> Entered {
        self.clock.turn();
        let connection = Arc::new(Connection::new(socket, Arc::clone(self)));
        let mut places = self.lock();
        let place = match places.free.pop() {
            Some(place) => {
                places.taken[place] = Some(Arc::clone(&connection));
                place
            }
            None => {
                places.taken.push(Some(Arc::clone(&connection)));
                places.taken.len() - 1
            }
        };
        if self.open.fetch_add(1, Ordering::Relaxed) == 0 {
            self.came.notify_waiters();
        }
        Entered {
            registry: Arc::clone(self),
            connection,
            place,
            _open: self.observer.connection(),
        }
    }

    /// Connections that are open.
    pub(crate) fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// Whether one more connection may be accepted.
    pub(crate) fn has_room(&self) -> bool {
        self.open() < self.most
    }

    /// Ends the connection that has been idle for longest, unless a request may be on its way on it.
    pub(crate) fn end_longest_idle(&self) {
        let now = self.clock.turn();
        let mut longest = None;
        self.for_each(|connection| {
            let since = connection.quiet_since();
            if connection.is_idle()
                && now.since(since) >= LEAST_IDLE
                && longest.as_ref().is_none_or(|(other, _)| since < *other)
            {
                longest = Some((since, Arc::clone(connection)));
            }
        });
        if let Some((_, connection)) = longest {
            connection.order_end(now);
        }
    }

    /// Waits until there is a connection.
    pub(crate) async fn until_entered(&self) {
        let came = self.came.notified();
        if self.open() == 0 {
            came.await;
        }
    }

    /// Waits until a connection has ended. One that ended after the future was made counts.
    pub(crate) fn until_ended(&self) -> impl Future<Output = ()> {
        self.ended.notified()
    }

    /// Waits until no connection is open.
    pub(crate) async fn until_empty(&self) {
        loop {
            let ended = self.ended.notified();
            if self.open() == 0 {
                return;
            }
            ended.await;
        }
    }

    /// From now on each response is the last one of its connection.
    pub(crate) fn drain(&self) {
        let now = self.clock.turn();
        self.draining.get_or_set(now);
        for place in 0.. {
            let places = self.lock();
            let Some(connection) = places.taken.get(place).cloned() else {
                return;
            };
            drop(places);
            let Some(connection) = connection else {
                continue;
            };
            // HTTP/2 says so at once; HTTP/1 with its next response; who serves an upgraded connection in his own way.
            if connection.is_http2() {
                connection.order_end(now);
            }
            if let Some(farewell) = connection.farewell() {
                farewell.say();
            }
        }
    }

    /// Cuts every connection off.
    pub(crate) fn abort(&self) {
        self.for_each(|connection| connection.socket().abort());
    }

    /// When the drain began, if it has.
    pub(crate) fn draining(&self) -> Option<Moment> {
        self.draining.get()
    }

    /// Shows each connection to `look`, some at a time, with the lock released in between.
    pub(crate) fn for_each(&self, mut look: impl FnMut(&Arc<Connection>)) {
        const AT_A_TIME: usize = 256;
        let mut place = 0;
        loop {
            let places = self.lock();
            let Some(some) = places.taken.get(place..) else {
                return;
            };
            if some.is_empty() {
                return;
            }
            some.iter().take(AT_A_TIME).flatten().for_each(&mut look);
            place += AT_A_TIME;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Places> {
        // Each change is whole.
        self.connections
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection's place in the registry, until this is dropped.
pub(crate) struct Entered {
    registry: Arc<Registry>,
    connection: Arc<Connection>,
    place: usize,
    _open: OpenConnection,
}

impl Entered {
    pub(crate) fn connection(&self) -> &Arc<Connection> {
        &self.connection
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        let mut places = self.registry.lock();
        let connection = places.taken[self.place].take();
        places.free.push(self.place);
        self.registry.open.fetch_sub(1, Ordering::Relaxed);
        drop(places);
        drop(connection);
        self.registry.ended.notify_waiters();
    }
}

/// One connection, as those see it who look after it from outside.
pub(crate) struct Connection {
    registry: Arc<Registry>,
    socket: Arc<Socket>,
    /// Wakes the connection's task.
    waker: OnceLock<Waker>,
    /// How often something has come from the client.
    received: AtomicU64,
    /// How often HTTP/2 may still read in this turn. Only the connection's task touches it.
    reads_left: AtomicUsize,
    /// How often all that hyper had was written.
    flushes: AtomicU64,
    /// Content cannot go on before the next one. Only the connection's task touches it.
    flush_awaited: AtomicBool,
    /// Since when the client takes nothing of what is to be sent.
    blocked: AtomicMoment,
    /// Pieces of content that hyper has and that are not sent, in HTTP/2.
    unsent: AtomicUsize,
    /// How often a part of them was sent.
    sent: AtomicU64,
    /// `sent` when the sweep looked last.
    sent_before: AtomicU64,
    /// Since when nothing of them is sent, as far as the sweep has seen.
    stalled: AtomicMoment,
    /// When it was accepted, or its last exchange ended and all was sent.
    quiet: AtomicMoment,
    /// `received` at that moment.
    mark: AtomicU64,
    /// When the sweep first saw that `received` had changed.
    head: AtomicMoment,
    /// Exchanges that have ended.
    ended: AtomicU64,
    /// A value of [`rest`].
    rest: AtomicU8,
    /// A response was given to hyper that may not have been written.
    unwritten: AtomicBool,
    /// A head was refused that hyper never had whole: the answer's status, and in the lower half how long its content is.
    refused: AtomicU32,
    is_http2: AtomicBool,
    /// It speaks something else from now on.
    is_upgraded: AtomicBool,
    /// Nothing can follow the response under way.
    to_close: AtomicBool,
    /// Its task is to end it as soon as nothing is under way.
    to_end: AtomicBool,
    /// When that was asked for.
    end_ordered: AtomicMoment,
    /// When it ends, what the client still sends is to be read for a while.
    to_linger: AtomicBool,
    /// What was wrong with the bytes that the client sent, none of which are read after it.
    fault: OnceLock<Box<Refusal>>,
    /// Set after `leftover` was put in its place, before the task is woken.
    has_leftover: AtomicBool,
    exchanges: Mutex<Exchanges>,
    /// How many there are; written under their lock.
    under_way: AtomicUsize,
}

/// Whether a connection is at rest: hyper's part of it given up until the client says something.
mod rest {
    pub(super) const NO: u8 = 0;
    /// The sweep has asked for it; a new exchange takes that back.
    pub(super) const WANTED: u8 = 1;
    pub(super) const YES: u8 = 2;
}

/// The exchanges of a connection: one at most in HTTP/1.
#[derive(Default)]
struct Exchanges {
    under_way: Vec<Arc<Exchange>>,
    /// One that has ended, for the next one.
    spare: Option<Arc<Exchange>>,
    /// What a handler has left of the content of a request.
    leftover: Option<Incoming>,
    /// Of a connection that may be upgraded.
    farewell: Option<Farewell>,
}

impl Connection {
    fn new(socket: Arc<Socket>, registry: Arc<Registry>) -> Connection {
        let now = registry.clock.now();
        Connection {
            registry,
            socket,
            waker: OnceLock::new(),
            received: AtomicU64::new(0),
            reads_left: AtomicUsize::new(0),
            flushes: AtomicU64::new(0),
            flush_awaited: AtomicBool::new(false),
            blocked: AtomicMoment::default(),
            unsent: AtomicUsize::new(0),
            sent: AtomicU64::new(0),
            sent_before: AtomicU64::new(0),
            stalled: AtomicMoment::default(),
            quiet: AtomicMoment::new(now),
            mark: AtomicU64::new(0),
            head: AtomicMoment::default(),
            ended: AtomicU64::new(0),
            rest: AtomicU8::new(rest::NO),
            unwritten: AtomicBool::new(false),
            refused: AtomicU32::new(0),
            is_http2: AtomicBool::new(false),
            is_upgraded: AtomicBool::new(false),
            to_close: AtomicBool::new(false),
            to_end: AtomicBool::new(false),
            end_ordered: AtomicMoment::default(),
            to_linger: AtomicBool::new(false),
            fault: OnceLock::new(),
            has_leftover: AtomicBool::new(false),
            exchanges: Mutex::default(),
            under_way: AtomicUsize::new(0),
        }
    }

    /// Its socket.
    pub(crate) fn socket(&self) -> &Arc<Socket> {
        &self.socket
    }
}

/// For the connection's task.
impl Connection {
    /// Notes how to wake the task. A task has one waker for its life.
    pub(super) fn note_waker(&self, waker: &Waker) {
        self.waker.get_or_init(|| waker.clone());
    }

    /// From now on it speaks HTTP/2.
    pub(super) fn begin_http2(&self) {
        self.is_http2.store(true, Ordering::Relaxed);
    }

    /// A turn of the task begins, in which it may read so often.
    pub(super) fn allow_reads(&self, count: usize) {
        self.reads_left.store(count, Ordering::Relaxed);
    }

    /// Whether the task may read once more in this turn, which it then does.
    pub(super) fn take_read(&self) -> bool {
        let left = self.reads_left.load(Ordering::Relaxed);
        self.reads_left
            .store(left.saturating_sub(1), Ordering::Relaxed);
        left > 0
    }

    /// Whether the task is to end it.
    pub(super) fn is_to_end(&self) -> bool {
        self.to_end.load(Ordering::Relaxed)
    }

    /// Whether it is to rest and may: nothing of an exchange is left, and none has begun. Then it is at rest from now on.
    pub(super) fn begin_rest(&self) -> bool {
        if self.rest.load(Ordering::Relaxed) != rest::WANTED
            || self.is_busy()
            || self.unwritten.load(Ordering::Relaxed)
            || !self.is_silent()
        {
            return false;
        }
        let exchanges = self.lock();
        // Somebody may still read the content of a request that was answered.
        let is_left = |spare: &Arc<Exchange>| Arc::strong_count(spare) == 1;
        let may_rest = exchanges.leftover.is_none() && exchanges.spare.as_ref().is_none_or(is_left);
        if may_rest {
            self.rest.store(rest::YES, Ordering::Relaxed);
        }
        may_rest
    }

    /// The client has said something.
    pub(super) fn end_rest(&self) {
        self.rest.store(rest::NO, Ordering::Relaxed);
    }

    /// Whether to read on for a while when it has ended.
    pub(super) fn is_to_linger(&self) -> bool {
        self.to_linger.load(Ordering::Relaxed)
    }

    /// Content that a handler has left, once.
    pub(super) fn take_leftover(&self) -> Option<Incoming> {
        if !self.has_leftover.load(Ordering::Relaxed) {
            return None;
        }
        self.has_leftover.store(false, Ordering::Relaxed);
        self.lock().leftover.take()
    }
}

/// For what is between the task and its socket.
impl Connection {
    /// Something has come from the client.
    pub(super) fn note_received(&self) {
        // One task reads.
        let before = self.received.load(Ordering::Relaxed);
        self.received.store(before + 1, Ordering::Relaxed);
    }

    /// Whether it speaks HTTP/1, and nothing else yet.
    pub(super) fn is_http1(&self) -> bool {
        !self.is_http2() && !self.is_upgraded()
    }

    /// Something is wrong with what has come.
    pub(super) fn note_fault(&self, fault: Refusal) {
        self.fault.get_or_init(|| Box::new(fault));
    }

    /// What is wrong with what has come.
    pub(super) fn fault(&self) -> Option<&Refusal> {
        self.fault.get().map(|fault| &**fault)
    }

    /// The client took something, or took nothing at this moment.
    pub(super) fn note_written(&self, blocked: Option<Moment>) {
        match blocked {
            Some(now) => drop(self.blocked.get_or_set(now)),
            None if self.blocked.get().is_some() => self.blocked.clear(),
            None => {}
        }
    }

    /// hyper has got a piece of content, in HTTP/2.
    pub(super) fn note_unsent(&self) {
        self.unsent.fetch_add(1, Ordering::Relaxed);
    }

    /// A part of a piece was sent; `is_last` if hyper has no more of it.
    pub(super) fn note_sent(&self, is_last: bool) {
        self.sent.fetch_add(1, Ordering::Relaxed);
        if is_last {
            self.unsent.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// hyper has written all it had. Says whether that was [waited for](Self::await_flush).
    pub(super) fn note_flushed(&self) -> bool {
        // One task writes.
        let before = self.flushes.load(Ordering::Relaxed);
        self.flushes.store(before + 1, Ordering::Relaxed);
        if self.unwritten.load(Ordering::Relaxed) && !self.is_busy() {
            self.unwritten.store(false, Ordering::Relaxed);
        }
        let is_awaited = self.flush_awaited.load(Ordering::Relaxed);
        if is_awaited {
            self.flush_awaited.store(false, Ordering::Relaxed);
        }
        is_awaited
    }

    /// The connection's task is to be woken when hyper has written all it has.
    ///
    /// hyper does not always poll a response's content after a flush, and need not: who says that content is pending has to
    /// see to it that the task is woken.
    pub(super) fn await_flush(&self) {
        self.flush_awaited.store(true, Ordering::Relaxed);
    }

    /// Whether what hyper writes now is no response of ours: in HTTP/1, its answer to a head that it cannot read.
    pub(super) fn is_hypers_own_write(&self) -> bool {
        !self.is_busy()
            && !self.unwritten.load(Ordering::Relaxed)
            && !self.is_http2.load(Ordering::Relaxed)
            && !self.is_upgraded.load(Ordering::Relaxed)
    }
}

/// For exchanges.
impl Connection {
    /// A request's head is there.
    pub(super) fn begin(&self) -> Arc<Exchange> {
        self.rest.store(rest::NO, Ordering::Relaxed);
        let now = self.registry.clock.now();
        let mut exchanges = self.lock();
        // One that somebody still holds, with content of a request that was answered long ago, is left to them.
        let spare = exchanges.spare.take().and_then(|mut spare| {
            let exchange = Arc::get_mut(&mut spare)?;
            exchange.renew(now);
            Some(spare)
        });
        let exchange = spare.unwrap_or_else(|| Arc::new(Exchange::new(now)));
        exchanges.under_way.push(Arc::clone(&exchange));
        self.under_way
            .store(exchanges.under_way.len(), Ordering::Relaxed);
        exchange
    }

    /// Exchanges that are under way.
    pub(super) fn under_way(&self) -> usize {
        self.under_way.load(Ordering::Relaxed)
    }

    /// All of a response was given to hyper, or there will be none.
    pub(super) fn end(&self, exchange: &Arc<Exchange>) {
        let mut exchanges = self.lock();
        let is_it = |other: &Arc<Exchange>| Arc::ptr_eq(other, exchange);
        if let Some(place) = exchanges.under_way.iter().position(is_it) {
            exchanges.spare = Some(exchanges.under_way.swap_remove(place));
        }
        let rest = exchanges.under_way.len();
        if rest == 0 {
            self.unwritten.store(true, Ordering::Relaxed);
            self.mark
                .store(self.received.load(Ordering::Relaxed), Ordering::Relaxed);
            self.head.clear();
            self.quiet.set(self.registry.clock.now());
        }
        let ended = self.ended.load(Ordering::Relaxed);
        self.ended.store(ended + 1, Ordering::Relaxed);
        self.under_way.store(rest, Ordering::Relaxed);
    }

    /// The client is to see all that is sent to it, though not all of what it sends is read.
    pub(super) fn linger(&self) {
        self.to_linger.store(true, Ordering::Relaxed);
    }

    /// A handler has left this content, which the task is to read over.
    pub(super) fn leave_over(&self, content: Incoming) {
        self.lock().leftover = Some(content);
        self.has_leftover.store(true, Ordering::Relaxed);
        self.wake();
    }

    /// Says what is to be said to the client when the drain begins, if the connection is upgraded.
    pub(super) fn set_farewell(&self, farewell: Farewell) {
        self.lock().farewell = Some(farewell);
    }

    fn farewell(&self) -> Option<Farewell> {
        self.lock().farewell.clone()
    }

    /// From now on hyper is only in between.
    pub(super) fn upgrade(&self) {
        self.is_upgraded.store(true, Ordering::Relaxed);
    }

    /// How often all that hyper had was written.
    pub(super) fn flushes(&self) -> u64 {
        self.flushes.load(Ordering::Relaxed)
    }

    /// The response under way, or the next one, is the last.
    pub(super) fn close_after_response(&self) {
        self.to_close.store(true, Ordering::Relaxed);
    }

    /// Whether the response that is begun now is the last.
    pub(super) fn is_to_close(&self) -> bool {
        self.to_close.load(Ordering::Relaxed) || self.to_end.load(Ordering::Relaxed)
    }
}

/// For the sweep and the drain.
impl Connection {
    /// Whether it has exchanges under way.
    pub(super) fn is_busy(&self) -> bool {
        self.under_way() > 0
    }

    /// Whether a request was answered and no other one has begun; and it is not to end already.
    fn is_idle(&self) -> bool {
        !self.is_busy()
            && !self.is_sending()
            && !self.is_fresh()
            && !self.is_upgraded()
            && !self.is_to_end()
            && (self.is_http2() || self.is_silent())
    }

    /// Whether nothing has come since the last exchange ended.
    fn is_silent(&self) -> bool {
        self.received.load(Ordering::Relaxed) == self.mark.load(Ordering::Relaxed)
    }

    pub(super) fn is_http2(&self) -> bool {
        self.is_http2.load(Ordering::Relaxed)
    }

    pub(super) fn is_upgraded(&self) -> bool {
        self.is_upgraded.load(Ordering::Relaxed)
    }

    /// Whether no request has come yet.
    pub(super) fn is_fresh(&self) -> bool {
        self.ended.load(Ordering::Relaxed) == 0
    }

    /// Whether responses that hyper has got whole are still to be taken by the client.
    pub(super) fn is_sending(&self) -> bool {
        self.unsent.load(Ordering::Relaxed) > 0
            || self.blocked.get().is_some()
            || self.is_http1() && self.unwritten.load(Ordering::Relaxed)
    }

    /// It is not quiet before now.
    pub(super) fn put_quiet_off(&self, now: Moment) {
        self.quiet.set(now);
    }

    /// When it was accepted, or its last exchange ended and all was sent.
    pub(super) fn quiet_since(&self) -> Moment {
        self.quiet.get().unwrap_or_default()
    }

    /// Since when a head is coming in, as far as the sweep has seen.
    pub(super) fn head_since(&self, now: Moment) -> Option<Moment> {
        if self.is_silent() {
            return None;
        }
        Some(self.head.get_or_set(now))
    }

    /// Since when the client takes nothing.
    pub(super) fn blocked_since(&self, now: Moment) -> Option<Moment> {
        self.blocked.get().or_else(|| self.stalled_since(now))
    }

    /// Since when the client of HTTP/2 lets nothing of its responses be sent: it does not make its windows wider.
    fn stalled_since(&self, now: Moment) -> Option<Moment> {
        if !self.is_http2() {
            return None;
        }
        let sent = self.sent.load(Ordering::Relaxed);
        let has_gone_on = self.sent_before.swap(sent, Ordering::Relaxed) != sent;
        let is_at_client = || self.lock().under_way.iter().any(|it| it.is_at_client());
        if has_gone_on || self.unsent.load(Ordering::Relaxed) == 0 && !is_at_client() {
            self.stalled.clear();
            return None;
        }
        Some(self.stalled.get_or_set(now))
    }

    /// Its head is answered with this, and hyper never sees it. False if that was said before.
    pub(super) fn note_refusal(&self, refusal: &Refusal) -> bool {
        let length = refusal.to_line().len() as u32 & 0xffff;
        let refused = u32::from(refusal.status.as_u16()) << 16 | length;
        self.refused.swap(refused, Ordering::Relaxed) == 0
    }

    /// The status and the content's length of that answer.
    pub(super) fn refusal(&self) -> Option<(StatusCode, usize)> {
        let refused = self.refused.load(Ordering::Relaxed);
        let status = StatusCode::from_u16((refused >> 16) as u16).ok()?;
        Some((status, (refused & 0xffff) as usize))
    }

    /// Has the task end it, at once if nothing is under way, else after that. Since when it is to end.
    pub(super) fn order_end(&self, now: Moment) -> Moment {
        if !self.to_end.swap(true, Ordering::Relaxed) {
            self.end_ordered.set(now);
            self.wake();
        }
        self.end_ordered.get().unwrap_or(now)
    }

    /// Has the task rest, if it does not yet.
    pub(super) fn order_rest(&self) {
        if self.rest.load(Ordering::Relaxed) == rest::NO {
            self.rest.store(rest::WANTED, Ordering::Relaxed);
            self.wake();
        }
    }

    /// Has the task look around.
    pub(super) fn wake(&self) {
        if let Some(waker) = self.waker.get() {
            waker.wake_by_ref();
        }
    }

    /// Shows each exchange to `look`.
    pub(super) fn for_each_exchange(&self, mut look: impl FnMut(&Arc<Exchange>)) {
        self.lock().under_way.iter().for_each(&mut look);
    }

    fn lock(&self) -> MutexGuard<'_, Exchanges> {
        // Each change is whole.
        self.exchanges
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
