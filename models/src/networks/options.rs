//! Options of networks: declared with a default, given as `key=value`.

use std::{collections::BTreeMap, fmt};

use crate::error::*;

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
    /// An option of a type.
    pub(crate) fn new<T: Value>(key: &'static str, default: &'static str, about: &'static str) -> Self {
        let [values, _] = T::words();
        Setting { key, default, values, about }
    }
}

/// A type of options.
pub(crate) trait Value: Sized {
    /// What it may be, in short and in words.
    fn words() -> [String; 2];

    fn read(text: &str) -> Option<Self>;
}

/// Types of options: what each may be, in short and in words, and how it is read.
macro_rules! values {
    ($($(#[$doc:meta])* $ty:ty: $short:literal, $words:literal, $read:expr;)+) => {
        $($(#[$doc])*
        impl Value for $ty {
            fn words() -> [String; 2] {
                [$short, $words].map(String::from)
            }

            fn read(text: &str) -> Option<Self> {
                let read: fn(&str) -> Option<Self> = $read;
                read(text)
            }
        })+
    };
}

values! {
    /// A positive whole number.
    usize: "N", "1 or more", |text| text.parse().ok().filter(|&n| n > 0);
    /// A positive whole number, or auto, which the option explains.
    Option<usize>: "N|auto", "auto, or 1 or more",
    |text| if text == "auto" { Some(None) } else { usize::read(text).map(Some) };
    /// Positive numbers with dashes between them.
    Vec<usize>: "N-N-…", "positive numbers with dashes between them, as 256-128",
    |text| text.split('-').map(usize::read).collect();
    /// A positive number.
    f64: "above 0", "a positive number", |text| text.parse().ok().filter(|v: &f64| (*v as f32).is_normal() && *v > 0.0);
    /// A number of 0 or more, or a word that stands for none.
    Option<f64>: "number", "none, auto or a number from 0", |text| match text {
        "none" | "auto" => Some(None),
        _ => text.parse().ok().filter(|v: &f64| *v >= 0.0 && v.is_finite()).map(Some),
    };
    /// A share: a number from 0 to below 1.
    f32: "0 to below 1", "a number from 0 to below 1", |text| text.parse().ok().filter(|p| (0.0..1.0).contains(p));
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

/// Declares values that have names.
macro_rules! choices {
    ($(#[$doc:meta])* $name:ident { $($(#[$about:meta])* $value:ident = $called:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $name {
            $($(#[$about])* $value,)+
        }

        impl $crate::networks::options::Choice for $name {
            const ALL: &'static [(&'static str, Self)] = &[$(($called, $name::$value)),+];
        }
    };
}
pub(crate) use choices;

impl<T: Choice> Value for T {
    fn words() -> [String; 2] {
        ["|", " or "].map(T::names)
    }

    fn read(text: &str) -> Option<Self> {
        T::ALL.iter().find(|(name, _)| *name == text).map(|&(_, choice)| choice)
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

impl Values {
    /// From `key=value,key=value`.
    pub(crate) fn parse(network: &str, settings: &[Setting], options: &str) -> Result<Self> {
        let mut given = BTreeMap::new();
        for option in options.split(',').filter(|o| !o.is_empty()) {
            let (key, value) = option.split_once('=').unwrap_or((option, ""));
            let Some(setting) = settings.iter().find(|s| s.key == key) else {
                let known = settings.iter().map(|s| s.key).collect::<Vec<_>>().join(", ");
                return Err(Error::argument(network, format!("options among {known}"), format!("\"{option}\"")));
            };
            if given.insert(setting.key, value.to_string()).is_some() {
                return Err(Error::argument(network, "every option once", format!("another \"{option}\"")));
            }
        }
        for setting in settings {
            given.entry(setting.key).or_insert_with(|| setting.default.into());
        }
        Ok(Values(given))
    }

    /// The value of an option.
    pub(crate) fn read<T: Value>(&self, key: &str) -> Result<T> {
        let text = self.0.get(key).map_or("", String::as_str);
        T::read(text).ok_or_else(|| Error::argument(key, &T::words()[1], format!("\"{text}\"")))
    }
}

/// Options of a network, as [`options!`] declares them.
pub(crate) trait Options: Sized {
    fn settings() -> Vec<Setting>;

    fn read(values: &Values) -> Result<Self>;
}

/// Declares the options of a network: a struct with a field for each, of its name, type, default, and what it does.
macro_rules! options {
    ($(#[$doc:meta])* $name:ident { $($field:ident $(as $key:literal)?: $ty:ty = $default:literal, $about:literal;)+ }) => {
        $(#[$doc])*
        #[derive(Debug)]
        struct $name {
            $(#[doc = $about] $field: $ty,)+
        }

        impl $crate::networks::options::Options for $name {
            fn settings() -> Vec<$crate::networks::options::Setting> {
                // Its name is its field's, or what comes before.
                use $crate::networks::options::Setting;
                vec![$(Setting::new::<$ty>([$($key,)? stringify!($field)][0], $default, $about)),+]
            }

            fn read(values: &$crate::networks::options::Values) -> $crate::error::Result<Self> {
                Ok($name { $($field: values.read([$($key,)? stringify!($field)][0])?,)+ })
            }
        }
    };
}
pub(crate) use options;
