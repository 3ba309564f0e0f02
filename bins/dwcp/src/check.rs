//! `dwcp check`: judges a recorded history, by whoever recorded it.
//!
//! Exit codes: 0 valid, 1 invalid, 2 unknown (the budget ran out), 3 the file could not be
//! read or judged.

use clap::{Args, ValueEnum};
use dwcp_check::history::format::{self, Format, Loaded};
use dwcp_check::history::{FailedCas, HistoryError, Limits};
use dwcp_check::judge::{self, Ask, Model};
use dwcp_check::level::Level;
use dwcp_check::picture;
use dwcp_check::report::{Outcome, Report};
use dwcp_check::rw::Unwritten;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::ExitCode;

/// Judges a history: can what the clients were told be true?
///
/// The format is found out by how the file begins, the model by the functions in it; both can
/// be said. Files may be packed with gzip. docs/formats/history.md shows every format and
/// model, docs/checkers.md what each checker proves.
#[derive(Args, Debug)]
#[command(after_help = "\
Exit codes: 0 valid, 1 invalid, 2 unknown (the budget ran out), 3 could not be read or judged.

  dwcp check run.edn                                     Jepsen's history, model found out
  dwcp check etcd.log --html why.html                    with a page that shows the operations
  dwcp check etcd.jsonl --failed-cas observed            a refused cas saw another value (etcd)
  dwcp check txns.txt --level snapshot-isolation         PolySI, Cobra, AWDIT texts
  dwcp check multi.edn --model multi-register --initial '{\"x\":0,\"y\":0}'
  dwcp check ours.jsonl --convert edn > for-elle.edn     to ask Elle, Knossos or Porcupine")]
pub struct Check {
    /// The file, or - for standard input.
    #[arg(default_value = "-")]
    file: PathBuf,
    /// Which checker: auto, or one of the models of docs/formats/history.md.
    #[arg(long, default_value = "auto", value_parser = model)]
    model: Chosen,
    /// The notation: auto, jsonl, json, edn, log, rw, awdit.
    #[arg(long, default_value = "auto", value_parser = notation)]
    format: Notation,
    /// Transactions: the level to hold them to. [default: the strongest that the format tells]
    #[arg(long, value_parser = level)]
    level: Option<Level>,
    /// What a failed cas means: it did not happen, or it observed another value.
    #[arg(long, value_enum)]
    failed_cas: Option<Cas>,
    /// What registers begin with, in JSON: one value, or an object by register.
    #[arg(long, value_parser = json)]
    initial: Option<serde_json::Value>,
    /// Reads of values that nobody in the file wrote. [default: refuse without times, else allow]
    #[arg(long, value_enum)]
    unwritten: Option<Thin>,
    /// Sets: hold a stale read against the system.
    #[arg(long)]
    linearizable: bool,
    /// Banks: accounts may be overdrawn.
    #[arg(long)]
    overdraft: bool,
    /// Banks: what the accounts hold together. [default: as the first read has it]
    #[arg(long, allow_negative_numbers = true)]
    total: Option<i64>,
    /// Spend this many times the default budget (ten seconds or so) before saying unknown.
    #[arg(long, visible_alias = "budget", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    effort: u64,
    /// Take in at most this many MiB after unpacking.
    #[arg(long, default_value_t = 4096, value_parser = clap::value_parser!(u64).range(1..=1 << 20))]
    limit: u64,
    /// Write a page with the verdict and a picture of the operations.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Write only the picture of the first finding.
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// Judge nothing; write the history to standard output as edn, jsonl, log, rw or awdit.
    #[arg(long, value_name = "FORMAT", value_parser = notation)]
    convert: Option<Notation>,
}

/// `None` is auto.
#[derive(Clone, Copy, Debug)]
struct Chosen(Option<Model>);

/// `None` is auto.
#[derive(Clone, Copy, Debug)]
struct Notation(Option<Format>);

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Cas {
    /// It did not happen (Jepsen, Knossos).
    Dropped,
    /// It saw another value (etcd, Porcupine's logs).
    Observed,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Thin {
    /// Their writer is outside the file.
    Allow,
    /// They came out of thin air.
    Refuse,
}

fn model(name: &str) -> Result<Chosen, String> {
    match name {
        "auto" => Ok(Chosen(None)),
        name => Model::named(name)
            .map(|model| Chosen(Some(model)))
            .ok_or_else(|| format!("the models are auto, {}", Model::names().join(", "))),
    }
}

fn notation(name: &str) -> Result<Notation, String> {
    match name {
        "auto" => Ok(Notation(None)),
        name => Format::named(name).map(|format| Notation(Some(format))).ok_or_else(|| {
            let names: Vec<&str> = Format::ALL.iter().map(|format| format.name()).collect();
            format!("the formats are auto, {}", names.join(", "))
        }),
    }
}

fn level(name: &str) -> Result<Level, String> {
    Level::named(name).ok_or_else(|| {
        let names: Vec<&str> = Level::ALL.iter().map(|level| level.name()).collect();
        format!("the levels are {}", names.join(", "))
    })
}

fn json(text: &str) -> Result<serde_json::Value, String> {
    serde_json::from_str(text).map_err(|e| format!("not JSON: {e}"))
}

/// Runs the command; the exit code is the verdict.
#[must_use]
pub fn run(args: &Check, json: bool) -> ExitCode {
    match checked(args, json) {
        Ok(code) => ExitCode::from(code),
        Err(why) => {
            let file = args.file.display();
            if json {
                eprintln!("{}", serde_json::json!({ "file": file.to_string(), "error": why }));
            } else {
                eprintln!("dwcp: {file}: {why}");
            }
            ExitCode::from(3)
        }
    }
}

fn checked(args: &Check, json: bool) -> Result<u8, String> {
    let (format, loaded) = load(args)?;
    if let Some(convert) = args.convert {
        let to = convert.0.ok_or("say which format to convert to")?;
        loaded.write(to, crate::say::stdout()).map_err(|e| e.to_string())?;
        return Ok(0);
    }
    let ask = Ask {
        model: args.model.0,
        level: args.level,
        failed_cas: args.failed_cas.map(|cas| match cas {
            Cas::Dropped => FailedCas::DidNotHappen,
            Cas::Observed => FailedCas::ObservedMismatch,
        }),
        initial: args.initial.clone(),
        unwritten: args.unwritten.map(|thin| match thin {
            Thin::Allow => Unwritten::Ignore,
            Thin::Refuse => Unwritten::Refuse,
        }),
        linearizable: args.linearizable,
        overdraft: args.overdraft,
        total: args.total,
        effort: args.effort,
    };
    let report = judge::judge(&loaded, format == Format::Log, &ask).map_err(|e| placed(&e, &loaded))?;
    tell(args, &report, json)?;
    Ok(match report.outcome {
        Outcome::Valid => 0,
        Outcome::Invalid => 1,
        Outcome::Unknown => 2,
    })
}

fn load(args: &Check) -> Result<(Format, Loaded), String> {
    let input: Box<dyn Read> = if args.file.as_os_str() == "-" {
        Box::new(std::io::stdin().lock())
    } else {
        Box::new(File::open(&args.file).map_err(|e| format!("can't open: {e}"))?)
    };
    let mut input = BufReader::with_capacity(1 << 18, input);
    let packed = input.fill_buf().map_err(|e| format!("can't read: {e}"))?.starts_with(&[0x1f, 0x8b]);
    let limits = Limits { bytes: args.limit << 20, ..Limits::default() };
    let read = |input: &mut dyn BufRead| match args.format.0 {
        None => format::read(input, limits),
        Some(format) => format.read(input, limits).map(|loaded| (format, loaded)),
    };
    let loaded = if packed {
        read(&mut BufReader::with_capacity(1 << 18, flate2::read::MultiGzDecoder::new(input)))
    } else {
        read(&mut input)
    };
    loaded.map_err(|e| e.to_string())
}

/// An error with the line of the event that it is about.
fn placed(error: &HistoryError, loaded: &Loaded) -> String {
    let line = match loaded {
        Loaded::Events(history) => error.event().and_then(|event| history.line(event)),
        Loaded::Sessions(_) => None,
    };
    line.map_or_else(|| error.to_string(), |line| format!("line {line}: {error}"))
}

fn tell(args: &Check, report: &Report, json: bool) -> Result<(), String> {
    let save = |path: &PathBuf, text: String| {
        std::fs::write(path, text).map_err(|e| format!("can't write {}: {e}", path.display()))
    };
    if let Some(path) = &args.html {
        save(path, picture::page(report, &args.file.display().to_string()))?;
    }
    if let Some(path) = &args.svg {
        match report.findings.first() {
            Some(finding) => save(path, picture::svg(finding))?,
            None => eprintln!("dwcp: nothing to draw: no finding"),
        }
    }
    if json {
        println!("{}", serde_json::to_string(report).map_err(|e| e.to_string())?);
    } else {
        println!("{report}");
    }
    Ok(())
}
