//! Options of networks: declared with a default, given as `key=value`.

use std::{collections::BTreeMap, fmt};

use crate::{Error, Result};

/// An option that a family of networks declares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// Its name.
    pub key: &'static str,
    /// What it is where it is not given.
    pub default: &'static str,
    /// What it may be.
    pub values: String,
    /// What it does, in one line.
    pub about: &'static str,
}

impl Setting {
    /// An option whose values are described in words.
    pub const fn new(key: &'static str, default: &'static str, values: String, about: &'static str) -> Self {
        Setting { key, default, values, about }
    }

    /// One of a few names.
    pub fn choice<T: Choice>(key: &'static str, default: &'static str, about: &'static str) -> Self {
        Setting::new(key, default, T::names("|"), about)
    }

    /// A positive whole number.
    pub fn size(key: &'static str, default: &'static str, about: &'static str) -> Self {
        Setting::new(key, default, "N".into(), about)
    }

    /// A number of 0 or more, or a word that stands for none.
    pub fn number(key: &'static str, default: &'static str, about: &'static str) -> Self {
        Setting::new(key, default, "number".into(), about)
    }

    /// Positive numbers with dashes between them.
    pub fn sizes(key: &'static str, default: &'static str, about: &'static str) -> Self {
        Setting::new(key, default, "N-N-…".into(), about)
    }

    /// A positive whole number, or auto, which `about` explains.
    pub fn size_or_auto(key: &'static str, about: &'static str) -> Self {
        Setting::new(key, "auto", "N|auto".into(), about)
    }

    /// A positive number.
    pub fn scale(key: &'static str, default: &'static str, about: &'static str) -> Self {
        Setting::new(key, default, "above 0".into(), about)
    }

    /// A number from 0 to below 1.
    pub fn share(key: &'static str, default: &'static str, about: &'static str) -> Self {
        Setting::new(key, default, "0 to below 1".into(), about)
    }
}

/// Values that have names.
pub trait Choice: Copy + 'static {
    /// All of them.
    const ALL: &'static [(&'static str, Self)];

    /// Their names.
    fn names(between: &str) -> String {
        Self::ALL.iter().map(|&(name, _)| name).collect::<Vec<_>>().join(between)
    }
}

/// What the options of a network are: those given, the others by default.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Values(BTreeMap<&'static str, String>);

impl fmt::Display for Values {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        for (i, (key, value)) in self.0.iter().enumerate() {
            write!(f, "{}{key}={value}", if i == 0 { ":" } else { "," })?;
        }
        Ok(())
    }
}

fn refuse(what: &str, expected: impl Into<String>, found: impl Into<String>) -> Error {
    Error::Argument { what: what.into(), expected: expected.into(), found: found.into() }
}

impl Values {
    /// From `key=value,key=value`.
    pub(super) fn parse(network: &str, settings: &[Setting], options: &str) -> Result<Self> {
        let mut given = BTreeMap::new();
        for option in options.split(',').filter(|o| !o.is_empty()) {
            let (key, value) = option.split_once('=').unwrap_or((option, ""));
            let Some(setting) = settings.iter().find(|s| s.key == key) else {
                let known = settings.iter().map(|s| s.key).collect::<Vec<_>>().join(", ");
                return Err(refuse(network, format!("options among {known}"), format!("\"{option}\"")));
            };
            if given.insert(setting.key, value.to_string()).is_some() {
                return Err(refuse(network, "every option once", format!("another \"{option}\"")));
            }
        }
        for setting in settings {
            given.entry(setting.key).or_insert_with(|| setting.default.into());
        }
        Ok(Values(given))
    }

    fn get(&self, key: &str) -> &str {
        self.0.get(key).map_or("", String::as_str)
    }

    fn read<T>(&self, key: &str, expected: &str, read: impl Fn(&str) -> Option<T>) -> Result<T> {
        let value = self.get(key);
        read(value).ok_or_else(|| refuse(key, expected, format!("\"{value}\"")))
    }

    /// One of a few names.
    pub(super) fn choice<T: Choice>(&self, key: &str) -> Result<T> {
        let find = |value: &str| T::ALL.iter().find(|(name, _)| *name == value).map(|&(_, choice)| choice);
        self.read(key, &T::names(" or "), find)
    }

    /// A positive whole number.
    pub(super) fn size(&self, key: &str) -> Result<usize> {
        self.read(key, "1 or more", |value| value.parse().ok().filter(|&n| n > 0))
    }

    /// A number of 0 or more, or nothing for this word.
    pub(super) fn number(&self, key: &str, none: &str) -> Result<Option<f64>> {
        let number = |value: &str| value.parse().ok().filter(|v: &f64| *v >= 0.0 && v.is_finite());
        let read = |value: &str| if value == none { Some(None) } else { number(value).map(Some) };
        self.read(key, &format!("{none} or a number from 0"), read)
    }

    /// Positive numbers with dashes between them.
    pub(super) fn sizes(&self, key: &str) -> Result<Vec<usize>> {
        let expected = "positive numbers with dashes between them, as 256-128";
        self.read(key, expected, |value| value.split('-').map(|w| w.parse().ok().filter(|&w| w > 0)).collect())
    }

    /// A positive whole number, or `None` for auto.
    pub(super) fn size_or_auto(&self, key: &str) -> Result<Option<usize>> {
        match self.get(key) {
            "auto" => Ok(None),
            _ => self.read(key, "auto, or 1 or more", |v| v.parse().ok().filter(|&n| n > 0)).map(Some),
        }
    }

    /// A positive number.
    pub(super) fn scale(&self, key: &str) -> Result<f64> {
        let positive = |v: &f64| (*v as f32).is_normal() && *v > 0.0;
        self.read(key, "a positive number", |value| value.parse().ok().filter(positive))
    }

    /// A number from 0 to below 1.
    pub(super) fn share(&self, key: &str) -> Result<f32> {
        self.read(key, "a number from 0 to below 1", |value| value.parse().ok().filter(|p| (0.0..1.0).contains(p)))
    }
}
