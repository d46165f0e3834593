//! The files below a directory as responses: [`Directory`].
//!
//! **Nothing outside can be reached.** Targets with empty, `.` and `..` segments, with NUL or with encoded slashes are not
//! found, before the file system is asked. What is left is opened relative to the directory's own descriptor with `openat2`
//! and `RESOLVE_BENEATH`: the kernel itself refuses a symbolic link that leads out, without a moment between test and use.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use percent_encoding::percent_decode_str;
use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::file::{Opened, refuse};
use super::{Handler, Request, Response, ResponseExt};
use super::{marker, response};

/// The files below a directory, as a handler of its own or [mounted](super::Router::mount) in a router.
///
/// ```no_run
/// use greenpatch_server::application::{Directory, Router};
///
/// let files = Directory::new("public")?.precompressed();
/// let router = Router::new().mount("/static", files);
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// A directory is answered with its `index.html`, and redirected to its name with a slash at the end. Names that begin with a
/// dot are not found, but for `.well-known`.
#[derive(Debug)]
pub struct Directory {
    root: OwnedFd,
    index: Option<OsString>,
    precompressed: bool,
    hidden: bool,
    cache_control: Option<HeaderValue>,
}

impl Directory {
    /// The files below `path`, which must be a directory now and is held open from here on.
    pub fn new(path: impl AsRef<Path>) -> io::Result<Directory> {
        let path = path.as_ref();
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open(path, flags, Mode::empty()).map_err(|error| {
            let error = io::Error::from(error);
            let text = format!("cannot serve the files below `{}`: {error}", path.display());
            io::Error::new(error.kind(), text)
        })?;
        Ok(Directory {
            root,
            index: Some("index.html".into()),
            precompressed: false,
            hidden: false,
            cache_control: None,
        })
    }

    /// Another name for the file that stands for its directory; an empty one for none.
    #[must_use]
    pub fn index(mut self, name: impl Into<OsString>) -> Directory {
        self.index = Some(name.into()).filter(|name| !name.is_empty());
        self
    }

    /// Sends `page.html.br`, `.zst` or `.gz` for `page.html` to clients that accept it, where there is such a file.
    #[must_use]
    pub fn precompressed(mut self) -> Directory {
        self.precompressed = true;
        self
    }

    /// Serves names that begin with a dot, too.
    #[must_use]
    pub fn with_hidden(mut self) -> Directory {
        self.hidden = true;
        self
    }

    /// Sends `Cache-Control` with each file, such as `max-age=3600`.
    #[must_use]
    pub fn cache_control(mut self, value: HeaderValue) -> Directory {
        self.cache_control = Some(value);
        self
    }

    fn answer(&self, request: &Request) -> Response {
        let uri = request.uri();
        let Some(mut path) = self.relative_path(uri.path()) else {
            return response::status(StatusCode::NOT_FOUND);
        };
        let is_folder = path.is_empty() || path.ends_with(b"/");
        if is_folder {
            let Some(index) = &self.index else {
                return response::status(StatusCode::NOT_FOUND);
            };
            path.extend_from_slice(index.as_bytes());
        }
        let path = OsString::from_vec(path);
        match self.open(&path) {
            Ok(Found::File(plain)) => self.answer_file(request, &path, plain),
            Ok(Found::Folder) if !is_folder => with_slash(uri),
            Ok(Found::Folder) => response::status(StatusCode::NOT_FOUND),
            Err(error) => refuse(error),
        }
    }

    fn answer_file(&self, request: &Request, path: &OsStr, plain: Opened) -> Response {
        let encodings = match self.precompressed {
            true => accepted_encodings(request.headers()),
            false => Vec::new(),
        };
        let encoded = encodings.into_iter().find_map(|encoding| {
            let mut path = path.to_owned();
            path.push(encoding.suffix);
            match self.open(&path) {
                Ok(Found::File(file)) => Some((encoding, file)),
                _ => None,
            }
        });
        let mut response = match encoded {
            None => plain.respond(request, path),
            Some((encoding, mut file)) => {
                file.encoding = Some(encoding.name);
                file.respond(request, path)
            }
        };
        let headers = response.headers_mut();
        if self.precompressed {
            headers.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
        }
        if let Some(value) = &self.cache_control {
            headers.insert(header::CACHE_CONTROL, value.clone());
        }
        response
    }

    /// The path below the root that a target's path names, if it may name one.
    fn relative_path(&self, target: &str) -> Option<Vec<u8>> {
        let relative = target.strip_prefix('/')?;
        let mut path = Vec::with_capacity(relative.len());
        let mut segments = relative.split('/').peekable();
        while let Some(segment) = segments.next() {
            let is_last = segments.peek().is_none();
            let name: Vec<u8> = percent_decode_str(segment).collect();
            let is_hidden = name.starts_with(b".") && !self.hidden && name != b".well-known";
            let is_special = matches!(&*name, b"." | b"..") || (name.is_empty() && !is_last);
            if is_hidden || is_special || name.contains(&b'/') || name.contains(&0) {
                return None;
            }
            path.extend_from_slice(&name);
            if !is_last {
                path.push(b'/');
            }
        }
        Some(path)
    }

    fn open(&self, path: &OsStr) -> io::Result<Found> {
        // A FIFO must not make the open wait for its other end.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        // The call goes to the kernel directly, so the runtime is told that it may take a while.
        let fd = greenpatch::blocking(|| open_beneath(&self.root, path, flags))?;
        let file = File::from(fd);
        let metadata = file.metadata()?;
        if metadata.is_dir() {
            return Ok(Found::Folder);
        }
        Opened::with_metadata(file, metadata).map(Found::File)
    }
}

impl Handler<marker::Itself> for Directory {
    fn call(&self, request: Request) -> Response {
        match *request.method() {
            Method::GET | Method::HEAD => self.answer(&request),
            Method::OPTIONS => allowing(StatusCode::NO_CONTENT),
            _ => allowing(StatusCode::METHOD_NOT_ALLOWED),
        }
    }
}

fn allowing(status: StatusCode) -> Response {
    response::status(status).with_header(header::ALLOW, "GET, HEAD, OPTIONS")
}

enum Found {
    File(Opened),
    Folder,
}

/// Opens a path that may not lead out of `root`.
fn open_beneath(root: impl AsFd, path: &OsStr, flags: OFlags) -> rustix::io::Result<OwnedFd> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    loop {
        match rustix::fs::openat2(&root, path, flags, Mode::empty(), resolve) {
            // Something was renamed meanwhile, and the kernel cannot tell.
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(Errno::NOSYS | Errno::PERM) => return open_without_links(root, path, flags),
            other => return other,
        }
    }
}

/// The same for sandboxes without `openat2`: segment by segment, and through no symbolic link at all.
fn open_without_links(root: impl AsFd, path: &OsStr, flags: OFlags) -> rustix::io::Result<OwnedFd> {
    let (folders, name) = match path.as_bytes().iter().rposition(|byte| *byte == b'/') {
        Some(slash) => (&path.as_bytes()[..slash], &path.as_bytes()[slash + 1..]),
        None => (&[][..], path.as_bytes()),
    };
    let mut folder = rustix::io::fcntl_dupfd_cloexec(&root, 0)?;
    let folder_flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let segments = folders.split(|byte| *byte == b'/');
    for segment in segments.filter(|segment| !segment.is_empty()) {
        folder = rustix::fs::openat(&folder, segment, folder_flags, Mode::empty())?;
    }
    rustix::fs::openat(&folder, name, flags | OFlags::NOFOLLOW, Mode::empty())
}

/// The redirect from a directory's name to the same with a slash. It is relative, as the directory may be mounted anywhere.
fn with_slash(uri: &Uri) -> Response {
    let name = uri.path().rsplit('/').next().unwrap_or_default();
    let query = uri.query().map(|query| format!("?{query}"));
    // `./` lets a name with a colon be no scheme.
    let location = format!("./{name}/{}", query.unwrap_or_default());
    response::redirect(&location).with_status(StatusCode::PERMANENT_REDIRECT)
}

/// A content coding that files may be stored in.
struct Encoding {
    name: &'static str,
    suffix: &'static str,
}

/// The best one first.
const ENCODINGS: [Encoding; 3] = [
    Encoding {
        name: "br",
        suffix: ".br",
    },
    Encoding {
        name: "zstd",
        suffix: ".zst",
    },
    Encoding {
        name: "gzip",
        suffix: ".gz",
    },
];

/// The codings that a client accepts, the best one first. A weight only tells apart zero and more than that.
fn accepted_encodings(fields: &HeaderMap) -> Vec<&'static Encoding> {
    let fields = fields.get_all(header::ACCEPT_ENCODING).iter();
    let fields: Vec<&str> = fields.filter_map(|field| field.to_str().ok()).collect();
    let accepts = |name: &str| {
        let mut items = fields.iter().flat_map(|field| field.split(','));
        items.find_map(|item| {
            let mut parts = item.split(';').map(str::trim);
            if !parts.next()?.eq_ignore_ascii_case(name) {
                return None;
            }
            let weight = parts.find_map(|part| part.strip_prefix("q=").or(part.strip_prefix("Q=")));
            Some(weight.is_none_or(|weight| weight.parse().is_ok_and(|weight: f32| weight > 0.0)))
        })
    };
    let any = accepts("*").unwrap_or(false);
    let accepted = ENCODINGS.iter();
    accepted
        .filter(|encoding| accepts(encoding.name).unwrap_or(any))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::time::{Duration, UNIX_EPOCH};

    use tempfile::TempDir;

    use super::super::{Body, file};
    use super::*;

    /// `site/`, with files that were changed long ago, beside a file that nobody may see.
    fn site() -> TempDir {
        let base = tempfile::tempdir().unwrap();
        fs::write(base.path().join("secret"), "secret").unwrap();
        let site = base.path().join("site");
        fs::create_dir_all(site.join("docs/.git")).unwrap();
        fs::create_dir_all(site.join(".well-known")).unwrap();
        let digits: String = ('0'..='9').collect();
        for (name, text) in [
            ("digits.txt", &*digits),
            ("docs/index.html", "<p>docs"),
            ("docs/.git/config", "secret"),
            (".well-known/security.txt", "mailto:"),
            ("a b+c.js", "1"),
            ("page.css", "plain"),
            ("page.css.gz", "gzipped"),
            ("page.css.br", "brotli"),
            ("empty", ""),
        ] {
            let path = site.join(name);
            fs::write(&path, text).unwrap();
            let modified = UNIX_EPOCH + Duration::from_secs(784_111_777);
            File::options()
                .write(true)
                .open(path)
                .unwrap()
                .set_modified(modified)
                .unwrap();
        }
        symlink("../secret", site.join("out")).unwrap();
        symlink("..", site.join("up")).unwrap();
        symlink("/etc/passwd", site.join("absolute")).unwrap();
        symlink("digits.txt", site.join("inside")).unwrap();
        base
    }

    fn directory(base: &TempDir) -> Directory {
        Directory::new(base.path().join("site")).unwrap()
    }

    fn ask_with(directory: &Directory, target: &str, fields: &[(&str, &str)]) -> Response {
        let mut request = http::Request::get(target);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        directory.call(request.body(Body::empty()).unwrap())
    }

    fn ask(directory: &Directory, target: &str) -> (u16, String) {
        let response = ask_with(directory, target, &[]);
        (response.status().as_u16(), text(response))
    }

    fn text(response: Response) -> String {
        response.into_body().into_string(10_000).unwrap()
    }

    fn field(response: &Response, name: &str) -> String {
        let value = response.headers().get(name);
        value
            .map(|value| value.to_str().unwrap().to_owned())
            .unwrap_or_default()
    }

    #[test]
    fn a_file_comes_with_its_type_date_and_tag() {
        let base = site();
        let response = ask_with(&directory(&base), "/digits.txt", &[]);
        assert_eq!(
            field(&response, "content-type"),
            "text/plain; charset=utf-8"
        );
        assert_eq!(
            field(&response, "last-modified"),
            "Sun, 06 Nov 1994 08:49:37 GMT"
        );
        assert_eq!(field(&response, "etag"), "\"2ebc98a1.0-a\"");
        assert_eq!(field(&response, "accept-ranges"), "bytes");
        assert_eq!(text(response), "0123456789");
        assert_eq!(ask(&directory(&base), "/empty"), (200, String::new()));
        assert_eq!(ask(&directory(&base), "/a%20b+c.js"), (200, "1".into()));
        assert_eq!(
            ask(&directory(&base), "/inside"),
            (200, "0123456789".into())
        );
    }

    #[test]
    fn nothing_outside_can_be_reached() {
        let base = site();
        let directory = directory(&base);
        for target in [
            "/../secret",
            "/%2e%2e/secret",
            "/docs/../../secret",
            "/..%2fsecret",
            "/docs%2f..%2f..%2fsecret",
            "//secret",
            "/./digits.txt",
            "/docs//index.html",
            "/digits.txt%00",
            "/%2fetc%2fpasswd",
            "/out",
            "/up/secret",
            "/up/site/digits.txt",
            "/absolute",
            "/docs/.git/config",
            "/nothing",
            "/digits.txt/",
            "/digits.txt/x",
        ] {
            assert_eq!(ask(&directory, target).0, 404, "{target}");
        }
        let target = format!("/{}", "x".repeat(300));
        assert_eq!(ask(&directory, &target).0, 404);
        assert_eq!(ask(&directory, "/.well-known/security.txt").0, 200);
    }

    #[test]
    fn without_openat2_no_link_is_followed() {
        let base = site();
        let root = directory(&base).root;
        let open = |path: &str| {
            let flags = OFlags::RDONLY | OFlags::CLOEXEC;
            open_without_links(&root, OsStr::new(path), flags).map(drop)
        };
        assert_eq!(open("digits.txt"), Ok(()));
        assert_eq!(open("docs/index.html"), Ok(()));
        for path in ["out", "inside", "absolute"] {
            assert_eq!(open(path), Err(Errno::LOOP), "{path}");
        }
        assert_eq!(open("up/secret"), Err(Errno::NOTDIR));
    }

    #[test]
    fn a_directory_is_its_index_and_ends_in_a_slash() {
        let base = site();
        let directory = directory(&base);
        assert_eq!(ask(&directory, "/docs/"), (200, "<p>docs".into()));
        let response = ask_with(&directory, "/docs?a=1", &[]);
        assert_eq!(response.status(), StatusCode::PERMANENT_REDIRECT);
        assert_eq!(field(&response, "location"), "./docs/?a=1");
        assert_eq!(ask(&directory, "/").0, 404);
        assert_eq!(ask(&directory.index(""), "/docs/").0, 404);
    }

    #[test]
    fn a_client_that_has_the_file_gets_no_content() {
        let base = site();
        let directory = directory(&base);
        let etag = field(&ask_with(&directory, "/digits.txt", &[]), "etag");
        let response = ask_with(&directory, "/digits.txt", &[("if-none-match", &etag)]);
        assert_eq!(response.status(), StatusCode::NOT_MODIFIED);
        assert_eq!(field(&response, "etag"), etag);
        assert_eq!(text(response), "");
    }

    #[test]
    fn one_range_is_sent_bare_and_several_in_an_envelope() {
        let base = site();
        let directory = directory(&base);
        let response = ask_with(&directory, "/digits.txt", &[("range", "bytes=2-4")]);
        assert_eq!(response.status(), StatusCode::PARTIAL_CONTENT);
        assert_eq!(field(&response, "content-range"), "bytes 2-4/10");
        assert_eq!(text(response), "234");

        let response = ask_with(&directory, "/digits.txt", &[("range", "bytes=0-1,-2")]);
        assert_eq!(response.status(), StatusCode::PARTIAL_CONTENT);
        let content_type = field(&response, "content-type");
        let boundary = content_type
            .strip_prefix("multipart/byteranges; boundary=")
            .unwrap();
        let part = |range, digits| {
            let type_and_range = "Content-Type: text/plain; charset=utf-8\r\nContent-Range: bytes";
            format!("\r\n--{boundary}\r\n{type_and_range} {range}/10\r\n\r\n{digits}")
        };
        let length = http_body::Body::size_hint(response.body()).exact().unwrap();
        let parts = part("0-1", "01") + &part("8-9", "89") + &format!("\r\n--{boundary}--\r\n");
        assert_eq!(length, parts.len() as u64);
        assert_eq!(text(response), parts);

        let response = ask_with(&directory, "/digits.txt", &[("range", "bytes=10-")]);
        assert_eq!(response.status(), StatusCode::RANGE_NOT_SATISFIABLE);
        assert_eq!(field(&response, "content-range"), "bytes */10");
    }

    #[test]
    fn head_tells_the_length_and_reads_nothing() {
        let base = site();
        let request = http::Request::head("/digits.txt")
            .body(Body::empty())
            .unwrap();
        let response = directory(&base).call(request);
        let body = response.into_body();
        assert_eq!(http_body::Body::size_hint(&body).exact(), Some(10));
        assert!(body.whole().is_none());
    }

    #[test]
    fn compressed_files_are_for_who_accepts_them() {
        let base = site();
        let directory = directory(&base).precompressed();
        for (accepted, encoding, content) in [
            ("gzip", "gzip", "gzipped"),
            ("gzip, br", "br", "brotli"),
            ("br;q=0, GZIP ; q=0.5", "gzip", "gzipped"),
            ("*", "br", "brotli"),
            ("*, br;q=0.0", "gzip", "gzipped"),
            ("*;q=0", "", "plain"),
            ("identity", "", "plain"),
            ("", "", "plain"),
        ] {
            let fields = [("accept-encoding", accepted)];
            let response = ask_with(&directory, "/page.css", &fields);
            assert_eq!(field(&response, "content-encoding"), encoding, "{accepted}");
            assert_eq!(field(&response, "content-type"), "text/css; charset=utf-8");
            assert_eq!(field(&response, "vary"), "accept-encoding");
            assert_eq!(text(response), content, "{accepted}");
        }
        let fields = [("accept-encoding", "gzip")];
        let plain_only = ask_with(&directory, "/digits.txt", &fields);
        assert_eq!(field(&plain_only, "content-encoding"), "");
    }

    #[test]
    fn a_large_file_is_read_while_it_is_sent() {
        let base = site();
        let content: Vec<u8> = (0..100_000_u32).flat_map(u32::to_le_bytes).collect();
        fs::write(base.path().join("site/large"), &content).unwrap();
        let response = ask_with(&directory(&base), "/large", &[("range", "bytes=1-")]);
        assert!(
            field(&response, "etag").starts_with("W/"),
            "changed a moment ago"
        );
        let body = response.into_body();
        assert!(body.whole().is_none());
        assert_eq!(body.into_bytes(content.len()).unwrap(), content[1..]);
    }

    #[test]
    fn other_methods_are_not_allowed() {
        let base = site();
        let request = http::Request::post("/digits.txt")
            .body(Body::empty())
            .unwrap();
        let response = directory(&base).call(request);
        assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED);
        assert_eq!(field(&response, "allow"), "GET, HEAD, OPTIONS");
    }

    #[test]
    fn a_single_file_is_answered_by_its_path() {
        let base = site();
        let path = base.path().join("site/digits.txt");
        let response = file(&Request::default(), &path);
        assert_eq!(text(response), "0123456789");
        let response = file(&Request::default(), path.join("x"));
        assert_eq!(response.status(), StatusCode::NOT_FOUND);
        let response = file(&Request::default(), base.path());
        assert_eq!(response.status(), StatusCode::NOT_FOUND);
    }

    #[test]
    fn a_directory_that_is_none_is_told_by_its_name() {
        let error = Directory::new("/no/such/directory").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        let text = "cannot serve the files below `/no/such/directory`: ";
        assert!(error.to_string().starts_with(text), "{error}");
    }
}
