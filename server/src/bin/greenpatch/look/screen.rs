//! The screen of `greenpatch top`.

use std::env;
use std::path::Path;
use std::time::Duration;

use ratatui::Frame as Screen;
use ratatui::layout::{Constraint, Layout, Margin, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Cell, Clear, Paragraph, Row, Table, TableState, Wrap};

use super::frame::words;
use super::keys::{App, Detail, HELP, Tab, order};
use super::text;
use super::told::{GreenThread, State};
use super::units::time;

/// Columns that a column of text may take, but for the last: this many, or this part of a wide terminal.
const WIDEST: u16 = 28;
const PART: u16 = 3;

/// How things are told apart: with colours, or with what a terminal without them has.
#[derive(Clone, Copy, Debug)]
pub(super) struct Theme {
    is_coloured: bool,
}

impl Theme {
    /// With colours, unless `NO_COLOR` is set to something: see <https://no-color.org>.
    pub(super) fn from_environment() -> Theme {
        let is_refused = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Theme {
            is_coloured: !is_refused,
        }
    }

    fn colour(self, colour: Color) -> Style {
        match self.is_coloured {
            true => Style::new().fg(colour),
            false => Style::new(),
        }
    }

    fn strong(self) -> Style {
        Style::new().add_modifier(Modifier::BOLD)
    }

    fn good(self) -> Style {
        self.colour(Color::Green).add_modifier(Modifier::BOLD)
    }

    fn bad(self) -> Style {
        self.colour(Color::Red).add_modifier(Modifier::BOLD)
    }

    fn quiet(self) -> Style {
        Style::new().add_modifier(Modifier::DIM)
    }

    fn marked(self) -> Style {
        Style::new().add_modifier(Modifier::REVERSED)
    }
}

/// Draws everything. How many rows fit is noted for the keys.
pub(super) fn draw(screen: &mut Screen<'_>, app: &mut App, interval: Duration, theme: Theme) {
    let head = head(app, interval, theme);
    let [top, tabs, middle, bottom] = Layout::vertical([
        Constraint::Length(head.len() as u16),
        Constraint::Length(1),
        Constraint::Min(0),
        Constraint::Length(1),
    ])
    .areas(screen.area());
    screen.render_widget(Paragraph::new(head), top);
    if let Some(detail) = &mut app.detail {
        let title = format!(" green thread {} of process {}", detail.id, detail.process);
        screen.render_widget(Line::styled(title, theme.strong()), tabs);
        app.page = usize::from(middle.height);
        draw_detail(screen, detail, middle, theme);
    } else {
        screen.render_widget(tab_line(app, theme), tabs);
        draw_table(screen, app, middle, theme);
    }
    screen.render_widget(bottom_line(app, theme), bottom);
    if app.has_help {
        draw_help(screen, theme);
    }
}

/// What is said of all together.
fn head(app: &App, interval: Duration, theme: Theme) -> Vec<Line<'static>> {
    let frame = &app.frame;
    let mut title = vec![Span::styled("greenpatch top", theme.good())];
    if app.is_paused {
        title.push(Span::styled("  paused", theme.bad()));
    }
    if frame.process > 0 {
        let path = Path::new(&frame.program);
        let program = path.file_name().unwrap_or(path.as_os_str());
        let name = format!("  {} ({})", program.to_string_lossy(), frame.process);
        title.push(Span::styled(name, theme.strong()));
    }
    let every = format!("  every {} s", interval.as_secs_f64());
    title.push(Span::styled(every, theme.quiet()));
    let mut lines = vec![Line::from(title)];
    if let Some(end) = &app.end {
        lines.push(Line::styled(end.clone(), theme.bad()));
    }
    if frame.process == 0 {
        return lines;
    }
    if let Some(requests) = &frame.requests {
        lines.push(Line::from(text::requests(requests)));
    }
    lines.push(Line::from(text::green_threads(&frame.green_threads)));
    lines.push(Line::from(text::workers(&frame.green_threads)));
    lines.push(Line::from(text::reasons(frame)));
    if let Some(trouble) = frame.troubles.first() {
        let text = format!("not shown: {trouble}");
        lines.push(Line::styled(text, theme.bad()));
    }
    lines
}

fn tab_line(app: &App, theme: Theme) -> Line<'static> {
    let mut spans = Vec::new();
    for (index, tab) in Tab::ALL.into_iter().enumerate() {
        let text = format!(" {} {} ", index + 1, tab.title());
        let style = match tab == app.tab {
            true => theme.marked(),
            false => theme.quiet(),
        };
        spans.push(Span::styled(text, style));
    }
    if app.tab == Tab::Threads {
        spans.push(Span::raw(format!("  {}", order(&app.view))));
        let omitted = app.frame.green_threads.omitted;
        if omitted > 0 {
            spans.push(Span::styled(format!(", {omitted} more"), theme.bad()));
        }
    }
    Line::from(spans)
}

fn bottom_line(app: &App, theme: Theme) -> Line<'static> {
    let filter = &app.view.filter;
    if app.is_filter_edited {
        return Line::from(format!("show only those with: {filter}\u{2588}"));
    }
    let keys = match &app.detail {
        Some(_) => "esc back  r ask again  up, down scroll  q end",
        None => "q end  ? help  enter stack  / filter  s order  tab other table  p pause",
    };
    let mut line = Line::default();
    if !filter.is_empty() {
        let text = format!("only with: {filter} (esc shows all)  ");
        line.push_span(Span::styled(text, theme.strong()));
    }
    line.push_span(Span::styled(keys, theme.quiet()));
    line
}

fn draw_table(screen: &mut Screen<'_>, app: &mut App, area: Rect, theme: Theme) {
    // One line is the names'.
    app.page = usize::from(area.height.saturating_sub(1));
    let texts = match app.tab {
        Tab::Threads => text::thread_table(&app.frame),
        Tab::Workers => text::worker_table(&app.frame),
        Tab::Processes => text::processes(&app.frame),
        Tab::Routes => text::routes(&app.frame),
    };
    let last = texts.columns.len() - 1;
    let widest = WIDEST.max(area.width / PART);
    let hogs = app.hogs();
    let widths = texts
        .columns
        .iter()
        .enumerate()
        .map(|(index, &(name, is_number))| {
            let cells = texts.rows.iter().map(|row| row[index].chars().count());
            let width = cells.max().unwrap_or(0).max(name.len());
            match index == last && !is_number {
                true => Constraint::Min(name.len() as u16),
                false => Constraint::Length(widest.min(width.try_into().unwrap_or(widest))),
            }
        });
    let widths: Vec<Constraint> = widths.collect();
    let cell = |text: String, is_number: bool| match is_number {
        true => Cell::from(Line::from(text).right_aligned()),
        false => Cell::from(text),
    };
    let names = texts.columns.iter();
    let names = names.map(|&(name, is_number)| cell(name.to_uppercase(), is_number));
    let header = Row::new(names).style(theme.strong());
    let rows = texts.rows.into_iter().enumerate().map(|(index, row)| {
        let cells = row.into_iter().zip(&texts.columns);
        let row = Row::new(cells.map(|(text, &(_, is_number))| cell(text, is_number)));
        match hogs.contains(&index) {
            true => row.style(theme.bad()),
            false => row,
        }
    });
    let table = Table::new(rows, widths)
        .header(header)
        .row_highlight_style(theme.marked());
    let marked = (app.rows() > 0).then_some(app.row);
    let mut state = TableState::new()
        .with_offset(app.offset)
        .with_selected(marked);
    screen.render_stateful_widget(table, area, &mut state);
    app.offset = state.offset();
}

fn draw_detail(screen: &mut Screen<'_>, detail: &mut Detail, area: Rect, theme: Theme) {
    let lines = match &detail.told {
        None => vec![Line::styled("asking...", theme.quiet())],
        Some(Err(error)) => vec![Line::styled(error.clone(), theme.bad())],
        Some(Ok(green)) => lines_of(green, theme),
    };
    detail.scrolled = detail.scrolled.min(lines.len().saturating_sub(1));
    let text = Paragraph::new(lines)
        .wrap(Wrap { trim: false })
        .scroll((u16::try_from(detail.scrolled).unwrap_or(u16::MAX), 0));
    let margin = Margin {
        horizontal: 1,
        vertical: 0,
    };
    screen.render_widget(text, area.inner(margin));
}

/// A green thread with its call stack.
fn lines_of(green: &GreenThread, theme: Theme) -> Vec<Line<'static>> {
    let mut lines = Vec::new();
    let mut line = |name: &str, text: String| {
        lines.push(Line::from(vec![
            Span::styled(format!("{name:<12}"), theme.strong()),
            Span::raw(text),
        ]));
    };
    if let Some(name) = &green.name {
        line("name", name.clone());
    }
    line("state", words(&green.state, false));
    if let State::Parked {
        for_seconds,
        seconds_left,
        ..
    } = green.state
    {
        line("for", time(Some(for_seconds)));
        if seconds_left.is_some() {
            line("at most", format!("{} more", time(seconds_left)));
        }
    }
    if let Some(place) = &green.spawned_at {
        line("spawned at", place.clone());
    }
    let used = green.stack_high_water.div_ceil(1024);
    let size = green.stack_size / 1024;
    line("stack", format!("{used} of {size} KiB"));
    lines.push(Line::default());
    match &green.backtrace {
        None => lines.push(Line::styled(
            "no call stack: it has not answered, or was about to go on",
            theme.quiet(),
        )),
        Some(frames) if frames.is_empty() => lines.push(Line::styled(
            "no frame of its own: its last call was compiled to a jump",
            theme.quiet(),
        )),
        Some(frames) => {
            for frame in frames {
                // Function and place in a line each: they are long, and are searched for by their beginnings.
                let text = frame.to_string();
                let (function, place) = text.split_once(" at ").unwrap_or((&text, ""));
                lines.push(Line::from(function.to_owned()));
                if !place.is_empty() {
                    lines.push(Line::styled(format!("    {place}"), theme.quiet()));
                }
            }
        }
    }
    lines
}

fn draw_help(screen: &mut Screen<'_>, theme: Theme) {
    let widest = HELP.iter().map(|(keys, _)| keys.len()).max().unwrap_or(0);
    let lines = HELP.iter().map(|(keys, text)| {
        Line::from(vec![
            Span::styled(format!("{keys:<widest$}  "), theme.strong()),
            Span::raw(*text),
        ])
    });
    let lines: Vec<Line<'_>> = lines.collect();
    let width = lines.iter().map(Line::width).max().unwrap_or(0) as u16 + 2;
    let height = lines.len() as u16 + 2;
    let area = screen.area().centered(
        Constraint::Length(width.min(screen.area().width)),
        Constraint::Length(height.min(screen.area().height)),
    );
    screen.render_widget(Clear, area);
    let block = Block::bordered().title(" keys ");
    screen.render_widget(Paragraph::new(lines).block(block), area);
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use ratatui::Terminal;
    use ratatui::backend::TestBackend;
    use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

    use super::*;
    use crate::look::frame::{Sort, View};
    use crate::look::told::{Frame, Reason, Runtime, Turn, Worker};
    use crate::look::watch::{Process, Sample};

    fn app() -> App {
        let mut app = App::new(View {
            sort: Sort::Id,
            is_reversed: false,
            filter: String::new(),
        });
        let mut green_threads: Vec<GreenThread> = (1..=50)
            .map(|id| GreenThread {
                id,
                name: Some(format!("conn-{id}")),
                spawned_at: Some("src/main.rs:7:5".to_owned()),
                state: State::Parked {
                    reason: Reason {
                        kind: "read".to_owned(),
                        on: Some(id),
                    },
                    for_seconds: 1.5,
                    seconds_left: None,
                    owner: None,
                },
                ..GreenThread::default()
            })
            .collect();
        green_threads[0].state = State::Running { worker: 0 };
        let workers = vec![Worker {
            turn: Some(Turn {
                green_thread: 1,
                for_seconds: 3.0,
                ..Turn::default()
            }),
            ..Worker::default()
        }];
        app.hear(Sample {
            at: Instant::now(),
            processes: vec![Process {
                process: 77,
                program: "python3".to_owned(),
                runtimes: vec![Runtime {
                    green_threads,
                    workers,
                    ..Runtime::default()
                }],
                ..Process::default()
            }],
            troubles: Vec::new(),
        });
        app
    }

    /// The lines of a screen of this size.
    fn screen(app: &mut App, width: u16, height: u16, theme: Theme) -> Terminal<TestBackend> {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        let interval = Duration::from_secs(1);
        terminal
            .draw(|screen| draw(screen, app, interval, theme))
            .unwrap();
        terminal
    }

    fn lines(terminal: &Terminal<TestBackend>) -> Vec<String> {
        let buffer = terminal.backend().buffer();
        let rows = buffer.content().chunks(buffer.area().width.into());
        rows.map(|row| row.iter().map(|cell| cell.symbol()).collect::<String>())
            .collect()
    }

    const PLAIN: Theme = Theme { is_coloured: false };

    #[test]
    fn all_that_matters_fits_into_80_columns_and_24_lines() {
        let mut app = app();
        let lines = lines(&screen(&mut app, 80, 24, PLAIN));
        let text = lines.join("\n");
        for part in [
            "python3 (77)",
            "49 read, 1 running",
            "running on worker 0, a hog",
            "3.0 s",
            "conn-2",
            "read on descriptor 2",
            "src/main.rs:7:5",
            "q end",
        ] {
            assert!(text.contains(part), "no '{part}' in\n{text}");
        }
    }

    #[test]
    fn the_marked_row_is_on_the_screen_wherever_it_is() {
        let mut app = app();
        screen(&mut app, 80, 24, PLAIN);
        app.press(KeyEvent::new(KeyCode::End, KeyModifiers::NONE));
        let text = lines(&screen(&mut app, 80, 24, PLAIN)).join("\n");
        assert!(
            text.contains("conn-50") && !text.contains("conn-2 "),
            "{text}"
        );
    }

    #[test]
    fn no_terminal_is_too_small() {
        for (width, height) in [(1, 1), (5, 3), (20, 6), (300, 100)] {
            let mut app = app();
            screen(&mut app, width, height, PLAIN);
            app.press(KeyEvent::new(KeyCode::Char('?'), KeyModifiers::NONE));
            screen(&mut app, width, height, PLAIN);
        }
    }

    #[test]
    fn without_colours_nothing_has_one() {
        let mut app = app();
        let coloured = |theme| {
            let terminal = screen(&mut app, 80, 24, theme);
            let cells = terminal.backend().buffer().content().to_vec();
            cells.iter().any(|cell| cell.fg != Color::Reset)
        };
        let [without, with] = [false, true]
            .map(|is_coloured| Theme { is_coloured })
            .map(coloured);
        assert!(!without && with);
    }

    #[test]
    fn a_green_thread_that_is_looked_at_shows_its_call_stack() {
        let mut app = app();
        app.press(KeyEvent::new(KeyCode::Enter, KeyModifiers::NONE));
        let green = GreenThread {
            id: 1,
            backtrace: Some(vec![Frame {
                function: Some("shop::checkout".to_owned()),
                file: Some("src/shop.rs".to_owned()),
                line: Some(12),
                ..Frame::default()
            }]),
            ..GreenThread::default()
        };
        app.hear_of(77, 1, Ok(green));
        let text = lines(&screen(&mut app, 80, 24, PLAIN)).join("\n");
        assert!(text.contains("shop::checkout "), "{text}");
        assert!(text.contains("    src/shop.rs:12 "), "{text}");
    }
}
