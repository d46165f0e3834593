//! Users and groups of this machine, as settings name them.

use nix::unistd;

use super::settings::{Group, User};

/// Finds a user by name or number. A number without a user is taken as it is, for containers that have none.
pub(crate) fn user(text: &str) -> Result<User, String> {
    let missing = || format!("there is no user '{text}' on this machine; give another or a number");
    let found = match text.parse() {
        Ok(uid) => unistd::User::from_uid(unistd::Uid::from_raw(uid)),
        Err(_) => unistd::User::from_name(text),
    };
    match (found, text.parse()) {
        (Ok(Some(user)), _) => Ok(User {
            name: user.name,
            uid: user.uid.as_raw(),
            gid: user.gid.as_raw(),
        }),
        (_, Ok(number)) if number != u32::MAX => Ok(User {
            name: text.to_owned(),
            uid: number,
            gid: number,
        }),
        (Err(error), _) => Err(format!("the users cannot be read: {error}; give a number")),
        _ => Err(missing()),
    }
}

/// Finds a group by name or number; likewise.
pub(crate) fn group(text: &str) -> Result<Group, String> {
    let missing =
        || format!("there is no group '{text}' on this machine; give another or a number");
    let found = match text.parse() {
        Ok(gid) => unistd::Group::from_gid(unistd::Gid::from_raw(gid)),
        Err(_) => unistd::Group::from_name(text),
    };
    match (found, text.parse()) {
        (Ok(Some(group)), _) => Ok(Group {
            name: group.name,
            gid: group.gid.as_raw(),
        }),
        (_, Ok(number)) if number != u32::MAX => Ok(Group {
            name: text.to_owned(),
            gid: number,
        }),
        (Err(error), _) => Err(format!("the groups cannot be read: {error}; give a number")),
        _ => Err(missing()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_lead_to_the_same_user() {
        let root = user("root").expect("root");
        assert_eq!((root.uid, root.gid), (0, 0));
        assert_eq!(user("0"), Ok(root));
        assert_eq!(group("root").map(|group| group.gid), Ok(0));
        assert_eq!(group("0"), group("root"));
    }

    #[test]
    fn a_number_without_a_user_is_taken_as_it_is() {
        let nobody = user("3999999999").expect("a number");
        assert_eq!((nobody.uid, nobody.gid), (3_999_999_999, 3_999_999_999));
        assert_eq!(nobody.name, "3999999999");
    }

    #[test]
    fn who_is_not_there_is_named() {
        let error = user("no-such-user").expect_err("no such user");
        assert!(error.starts_with("there is no user 'no-such-user'"));
        // Minus one as a number: the kernel's word for "leave it".
        assert!(user("4294967295").is_err());
        assert!(group("-1").is_err());
    }
}
