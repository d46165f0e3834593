//! Files as responses, with conditional requests and ranges, by a tag made of size and time of change.
//!
//! A small file is read at once; a larger one is read while it is sent ([`part`](super::part)).

use std::ffi::OsStr;
use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::ops::Range;

use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::{HeaderValue, Method, StatusCode, header};
use rustix::io::Errno;

use super::conditional::{Validators, Verdict, judge};
use super::part::Part;
use super::response;
use super::{Body, HttpError, IntoResponse, Response, ResponseExt};

/// A file of at most so many bytes is read before the response begins, instead of while it is sent.
const SMALL: u64 = 16 * 1024;

/// A file that was changed more recently may be changed again without a sign of it in its time of change.
const SETTLED: Duration = Duration::from_secs(1);

/// Answers a request with a file of the server's: GET and HEAD, with conditions and ranges.
///
/// The path is the application's own; what a client names is for a [`Directory`](super::Directory). A file that is not there is answered 404.
///
/// ```
/// use greenpatch_server::application::{Request, Router, file};
///
/// let router = Router::new().get("/logo", |request: Request| file(&request, "static/logo.png"));
/// ```
pub fn file<B>(request: &http::Request<B>, path: impl AsRef<Path>) -> Response {
    let path = path.as_ref();
    let opened = File::open(path).and_then(Opened::new);
    match opened {
        Ok(opened) => opened.respond(request, path.file_name().unwrap_or_default()),
        Err(error) => refuse(error),
    }
}

/// A regular file that is open.
pub(super) struct Opened {
    file: File,
    metadata: Metadata,
    /// The content coding that it is stored in, if any.
    pub(super) encoding: Option<&'static str>,
}

impl Opened {
    fn new(file: File) -> io::Result<Opened> {
        let metadata = file.metadata()?;
        Opened::with_metadata(file, metadata)
    }

    pub(super) fn with_metadata(file: File, metadata: Metadata) -> io::Result<Opened> {
        if !metadata.is_file() {
            return Err(io::ErrorKind::NotFound.into());
        }
        Ok(Opened {
            file,
            metadata,
            encoding: None,
        })
    }

    pub(super) fn respond<B>(self, request: &http::Request<B>, name: &OsStr) -> Response {
        let length = self.metadata.len();
        let content_type = content_type(Path::new(name));
        let validators = self.validators();
        let verdict = judge(request.method(), request.headers(), &validators, length);
        let is_head = request.method() == Method::HEAD;

        let mut response = match verdict {
            Verdict::NotModified => response::status(StatusCode::NOT_MODIFIED),
            Verdict::Failed => return response::status(StatusCode::PRECONDITION_FAILED),
            Verdict::Unsatisfiable => {
                return response::status(StatusCode::RANGE_NOT_SATISFIABLE)
                    .with_header(header::CONTENT_RANGE, format!("bytes */{length}"));
            }
            Verdict::Whole => match self.body(0..length, is_head) {
                Ok(body) => {
                    Response::new(body).with_header(header::CONTENT_TYPE, content_type.clone())
                }
                Err(error) => return HttpError::from(error).into_response(),
            },
            Verdict::Parts(ranges) => match self.parts(&ranges, &content_type, is_head) {
                Ok(response) => response.with_status(StatusCode::PARTIAL_CONTENT),
                Err(error) => return HttpError::from(error).into_response(),
            },
        };
        if let Some(encoding) = self.encoding
            && response.status() != StatusCode::NOT_MODIFIED
        {
            let value = HeaderValue::from_static(encoding);
            response
                .headers_mut()
                .insert(header::CONTENT_ENCODING, value);
        }
        if let Some(modified) = validators.modified {
            let date = httpdate::fmt_http_date(modified);
            response = response.with_header(header::LAST_MODIFIED, date);
        }
        response
            .with_header(header::ETAG, validators.etag)
            .with_header(header::ACCEPT_RANGES, "bytes")
    }

    fn validators(&self) -> Validators {
        let (seconds, nanoseconds) = (self.metadata.mtime(), self.metadata.mtime_nsec());
        let now = SystemTime::now();
        let modified = self.metadata.modified().ok();
        let is_settled = modified.is_some_and(|modified| modified + SETTLED <= now);
        let weak = if is_settled { "" } else { "W/" };
        let encoding = self.encoding.unwrap_or_default();
        let etag = format!(
            "{weak}\"{seconds:x}.{nanoseconds:x}-{:x}{encoding}\"",
            self.metadata.len()
        );
        // HTTP knows neither a date before 1970 nor one to come.
        let whole_seconds = u64::try_from(seconds).ok().map(Duration::from_secs);
        let modified = whole_seconds.and_then(|seconds| UNIX_EPOCH.checked_add(seconds));
        Validators {
            etag: HeaderValue::try_from(etag).expect("hexadecimal digits are valid in a field"),
            modified: modified.filter(|modified| *modified <= now),
        }
    }

    /// The body of one part.
    fn body(&self, range: Range<u64>, is_head: bool) -> io::Result<Body> {
        let length = range.end - range.start;
        if length <= SMALL && !is_head {
            let mut bytes = vec![0; usize::try_from(length).expect("it is small")];
            self.file.read_exact_at(&mut bytes, range.start)?;
            return Ok(Bytes::from(bytes).into());
        }
        Ok(Body::from_file(Part::new(self.file.try_clone()?, range)))
    }

    /// A response of one part as it is, or of several in an envelope.
    fn parts(
        &self,
        ranges: &[Range<u64>],
        content_type: &HeaderValue,
        is_head: bool,
    ) -> io::Result<Response> {
        let complete = self.metadata.len();
        let content_range =
            |range: &Range<u64>| format!("bytes {}-{}/{complete}", range.start, range.end - 1);
        if let [range] = ranges {
            return Ok(Response::new(self.body(range.clone(), is_head)?)
                .with_header(header::CONTENT_RANGE, content_range(range))
                .with_header(header::CONTENT_TYPE, content_type.clone()));
        }
        // Not to be foreseen by who wrote the file, so it does not occur in it.
        let boundary = format!("{:016x}{:016x}", fastrand::u64(..), fastrand::u64(..));
        let content_type = content_type.to_str().unwrap_or("application/octet-stream");
        let mut envelope: Box<dyn Read + Send> = Box::new(io::empty());
        let mut length = 0;
        for range in ranges {
            let head = format!(
                "\r\n--{boundary}\r\nContent-Type: {content_type}\r\nContent-Range: {}\r\n\r\n",
                content_range(range)
            );
            length += head.len() as u64 + (range.end - range.start);
            let part = Part::new(self.file.try_clone()?, range.clone());
            envelope = Box::new(envelope.chain(io::Cursor::new(head)).chain(part));
        }
        let end = format!("\r\n--{boundary}--\r\n");
        length += end.len() as u64;
        let body = Body::from_reader(envelope.chain(io::Cursor::new(end))).with_length(length);
        let content_type = format!("multipart/byteranges; boundary={boundary}");
        Ok(Response::new(body).with_header(header::CONTENT_TYPE, content_type))
    }
}

/// What a failure to open a file is answered with.
pub(super) fn refuse(error: io::Error) -> Response {
    let errno = Errno::from_io_error(&error);
    if error.kind() == io::ErrorKind::NotFound
        || matches!(
            errno,
            Some(Errno::NOTDIR | Errno::XDEV | Errno::LOOP | Errno::NAMETOOLONG | Errno::NXIO)
        )
    {
        response::status(StatusCode::NOT_FOUND)
    } else if error.kind() == io::ErrorKind::PermissionDenied {
        response::status(StatusCode::FORBIDDEN)
    } else {
        HttpError::from(error).into_response()
    }
}

fn content_type(path: &Path) -> HeaderValue {
    let guess = mime_guess::from_path(path).first_or_octet_stream();
    let text = match guess.type_() {
        mime_guess::mime::TEXT => format!("{guess}; charset=utf-8"),
        _ => guess.to_string(),
    };
    HeaderValue::try_from(text).expect("media types are valid in a field")
}
