//! What all workers of a generation have in common: the program, the settings, and the sockets. HUP begins a new one.

use std::cell::{Cell, Ref, RefCell};
use std::rc::Rc;

use super::executable::Executable;
use super::sockets::{Activated, BindError, Listening, Socket, open_all};
use crate::settings::Settings;

/// The settings, as data and as the text that workers are given.
#[derive(Clone, Debug)]
pub(crate) struct Configuration {
    pub(crate) settings: Settings,
    pub(crate) text: String,
}

/// A generation of workers.
#[derive(Debug)]
pub(crate) struct Generation {
    pub(crate) executable: Executable,
    pub(crate) configuration: Configuration,
    /// Empty from when the server begins to stop.
    sockets: RefCell<Vec<Rc<Listening>>>,
    /// Whether a worker of it has ever been ready.
    pub(crate) has_served: Cell<bool>,
}

impl Generation {
    /// One that listens where its settings say: on sockets among `present` that were made for the same address, and on new ones.
    ///
    /// # Errors
    ///
    /// If an address cannot be listened on; sockets that were made for the others are closed again.
    pub(crate) fn new(
        executable: Executable,
        configuration: Configuration,
        present: &[Rc<Listening>],
        activated: &mut Activated,
    ) -> Result<Generation, BindError> {
        let settings = &configuration.settings;
        let bind = activated.instead_of(&settings.bind);
        let sockets = open_all(&bind, present, settings, activated)?;
        Ok(Generation {
            executable,
            configuration,
            sockets: RefCell::new(sockets),
            has_served: Cell::new(false),
        })
    }

    /// What is set.
    pub(crate) fn settings(&self) -> &Settings {
        &self.configuration.settings
    }

    /// The sockets that its workers accept on.
    pub(crate) fn sockets(&self) -> Ref<'_, Vec<Rc<Listening>>> {
        self.sockets.borrow()
    }

    /// Lets the sockets go. They go on to listen for as long as a worker has them.
    pub(crate) fn let_sockets_go(&self) {
        self.sockets.borrow_mut().clear();
    }

    /// The addresses, as gunicorn logs them.
    pub(crate) fn addresses(&self) -> String {
        let scheme = if self.settings().tls.is_on() {
            "https"
        } else {
            "http"
        };
        let sockets = self.sockets();
        let addresses = sockets.iter().map(|listening| match listening.socket {
            Socket::Tcp(_) => format!("{scheme}://{}", listening.socket),
            Socket::Unix(_) => listening.socket.to_string(),
        });
        addresses.collect::<Vec<_>>().join(",")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::bind::Bind;

    fn generation(bind: &[&str], present: &[Rc<Listening>]) -> Result<Generation, BindError> {
        let bind: Vec<Bind> = bind
            .iter()
            .map(|it| it.parse().expect("an address"))
            .collect();
        let configuration = Configuration {
            settings: Settings {
                bind,
                ..Settings::default()
            },
            text: String::new(),
        };
        let executable = Executable::own().expect("proc is mounted");
        let mut activated = Activated::to_earlier_master(Vec::new());
        Generation::new(executable, configuration, present, &mut activated)
    }

    #[test]
    fn sockets_for_the_same_address_are_kept_and_others_made_or_closed() {
        let first = generation(&["127.0.0.1:0", "[::1]:0"], &[]).expect("loopback");
        let addresses = first.addresses();
        let second = generation(&["[::1]:0", "127.0.0.1:0", "127.0.0.1:0"], &first.sockets());
        let second = second.expect("loopback");
        assert!(Rc::ptr_eq(&first.sockets()[1], &second.sockets()[0]));
        assert!(Rc::ptr_eq(&first.sockets()[0], &second.sockets()[1]));
        assert!(!Rc::ptr_eq(&second.sockets()[1], &second.sockets()[2]));
        let urls: Vec<_> = addresses.split(',').collect();
        assert!(
            second
                .addresses()
                .starts_with(&format!("{},{}", urls[1], urls[0]))
        );

        assert!(generation(&["127.0.0.1:0", "192.0.2.1:1"], &second.sockets()).is_err());
        second.let_sockets_go();
        assert_eq!(second.addresses(), "");
        assert_eq!(first.addresses(), addresses);
    }
}
