//! Forms with files, as browsers send them (RFC 7578).

use std::fmt::Write as _;

use bytes::Bytes;

/// The content of a form: what [`TestRequest::multipart`](super::TestRequest::multipart) sends.
///
/// ```
/// use greenpatch_server::test::{Form, Part};
///
/// let form = Form::new()
///     .text("title", "A duck")
///     .part("image", Part::new(&b"\x89PNG"[..]).file_name("duck.png").content_type("image/png"));
/// ```
#[derive(Clone, Debug, Default)]
pub struct Form {
    parts: Vec<(String, Part)>,
}

/// One field of a [`Form`]: a file, if it has a file name.
#[derive(Clone, Debug)]
pub struct Part {
    content: Bytes,
    file_name: Option<String>,
    content_type: Option<String>,
}

impl Form {
    /// Without fields.
    pub fn new() -> Form {
        Form::default()
    }

    /// Adds a field of text.
    #[must_use]
    pub fn text(self, name: impl Into<String>, value: impl Into<String>) -> Form {
        self.part(name, Part::new(value.into()))
    }

    /// Adds a file; its type is told by the end of its name.
    #[must_use]
    pub fn file(
        self,
        name: impl Into<String>,
        file_name: impl Into<String>,
        content: impl Into<Bytes>,
    ) -> Form {
        let file_name = file_name.into();
        let guessed = mime_guess::from_path(&file_name).first_or_octet_stream();
        let part = Part::new(content).content_type(guessed.essence_str());
        self.part(name, part.file_name(file_name))
    }

    /// Adds a field.
    #[must_use]
    pub fn part(mut self, name: impl Into<String>, part: Part) -> Form {
        self.parts.push((name.into(), part));
        self
    }

    /// The value of `Content-Type`, and the content.
    pub(super) fn encode(&self) -> (String, Bytes) {
        let boundary = self.boundary();
        let mut content = Vec::new();
        for (name, part) in &self.parts {
            content.extend_from_slice(part.head(&boundary, name).as_bytes());
            content.extend_from_slice(&part.content);
            content.extend_from_slice(b"\r\n");
        }
        content.extend_from_slice(format!("--{boundary}--\r\n").as_bytes());
        let content_type = format!("multipart/form-data; boundary={boundary}");
        (content_type, content.into())
    }

    /// A line that is in no part. The same form has the same one each time.
    fn boundary(&self) -> String {
        let is_in = |part: &Part, line: &str| {
            let mut windows = part.content.windows(line.len());
            windows.any(|window| window == line.as_bytes())
        };
        let mut lines = (0..).map(|number: u64| format!("greenpatch-test-{number}"));
        lines
            .find(|line| !self.parts.iter().any(|(_, part)| is_in(part, line)))
            .expect("there are more numbers than contents can hold")
    }
}

impl Part {
    /// A field with this content.
    pub fn new(content: impl Into<Bytes>) -> Part {
        Part {
            content: content.into(),
            file_name: None,
            content_type: None,
        }
    }

    /// Makes it a file of this name.
    #[must_use]
    pub fn file_name(mut self, name: impl Into<String>) -> Part {
        self.file_name = Some(name.into());
        self
    }

    /// Tells what it is, such as `image/png`.
    #[must_use]
    pub fn content_type(mut self, content_type: impl Into<String>) -> Part {
        self.content_type = Some(content_type.into());
        self
    }

    fn head(&self, boundary: &str, name: &str) -> String {
        let mut head = format!(
            "--{boundary}\r\nContent-Disposition: form-data; name=\"{}\"",
            escaped(name)
        );
        if let Some(file_name) = &self.file_name {
            let _ = write!(head, "; filename=\"{}\"", escaped(file_name));
        }
        if let Some(content_type) = &self.content_type {
            let _ = write!(head, "\r\nContent-Type: {content_type}");
        }
        head + "\r\n\r\n"
    }
}

/// A name as browsers write it, which ends neither the quotes nor the line (HTML standard, "multipart/form-data encoding
/// algorithm").
fn escaped(name: &str) -> String {
    let name = name.replace('"', "%22");
    name.replace('\r', "%0D").replace('\n', "%0A")
}
