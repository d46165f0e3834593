//! The name of the route that answered a request, for metrics and logs.
//!
//! A path would make a series of each id that stands in one; a route's pattern does not. The server cannot see what a router
//! has matched, so the router says it: it puts a [`Route`] into the extensions of its response. Names are kept for the life
//! of the process and given numbers, so that counting by route needs no look at the name.

use std::collections::HashMap;
use std::fmt;
use std::sync::{OnceLock, PoisonError, RwLock};

/// Routes that are told apart; what is more shares one name.
pub(crate) const MOST: usize = 512;

/// The name of those that are too many.
const OTHER: &str = "(other)";

/// The route that answered a request: its pattern, such as `/users/{id}`. A router puts it into its response's extensions.
///
/// [`application::Router`](crate::application) does so. An axum router does with one layer:
///
/// ```
/// use axum::{extract::{MatchedPath, Request}, middleware::{self, Next}, routing::get, Extension, Router};
/// use axum::response::IntoResponse;
/// use greenpatch_server::Route;
///
/// async fn route(path: MatchedPath, request: Request, next: Next) -> impl IntoResponse {
///     (Extension(Route::new(path.as_str())), next.run(request).await)
/// }
///
/// let app: Router = Router::new()
///     .route("/users/{id}", get(|| async { "a user" }))
///     .route_layer(middleware::from_fn(route));
/// # let _ = app;
/// ```
///
/// Without it the label is empty: the path itself would make a series of every id that a client thinks of.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Route(u16);

impl Route {
    /// Of answers that name no route.
    pub const NONE: Route = Route(0);

    /// The route of this name. The name is kept for the life of the process; after 511 of them, further ones are all called
    /// `(other)`.
    pub fn new(name: &str) -> Route {
        let names = names();
        let read = |names: &Names| names.numbers.get(name).copied();
        if let Some(route) = read(&names.read().unwrap_or_else(PoisonError::into_inner)) {
            return route;
        }
        let mut names = names.write().unwrap_or_else(PoisonError::into_inner);
        read(&names).unwrap_or_else(|| names.add(name))
    }

    /// The name it was made with.
    pub fn name(self) -> &'static str {
        let names = names().read().unwrap_or_else(PoisonError::into_inner);
        names.names[usize::from(self.0)]
    }

    /// Below [`MOST`].
    pub(crate) fn number(self) -> usize {
        usize::from(self.0)
    }

    pub(crate) fn numbered(number: usize) -> Route {
        Route(u16::try_from(number).expect("routes are few"))
    }
}

impl fmt::Debug for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Route({:?})", self.name())
    }
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Every name of this process, by number, and the numbers by name.
struct Names {
    names: Vec<&'static str>,
    numbers: HashMap<&'static str, Route>,
}

impl Names {
    fn add(&mut self, name: &str) -> Route {
        let name = match self.names.len() {
            number if number < MOST - 1 => String::from(name).leak(),
            number if number < MOST => OTHER,
            // The last number is theirs.
            number => return Route::numbered(number - 1),
        };
        let route = Route::numbered(self.names.len());
        self.names.push(name);
        self.numbers.insert(name, route);
        route
    }
}

fn names() -> &'static RwLock<Names> {
    static NAMES: OnceLock<RwLock<Names>> = OnceLock::new();
    NAMES.get_or_init(|| {
        RwLock::new(Names {
            names: vec![""],
            numbers: HashMap::from([("", Route::NONE)]),
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_one_number() {
        let users = Route::new("/users/{id}");
        assert_eq!(users, Route::new("/users/{id}"));
        assert_ne!(users, Route::new("/users"));
        assert_eq!(users.name(), "/users/{id}");
        assert_eq!(Route::new(""), Route::NONE);
    }

    #[test]
    fn names_are_bounded() {
        let mut names = Names {
            names: vec![""],
            numbers: HashMap::new(),
        };
        let routes: Vec<Route> = (0..2 * MOST).map(|i| names.add(&i.to_string())).collect();
        assert_eq!(names.names.len(), MOST);
        assert_eq!(names.names[routes[2 * MOST - 1].number()], OTHER);
        assert_eq!(
            names.names[routes[MOST - 3].number()],
            (MOST - 3).to_string()
        );
    }
}
