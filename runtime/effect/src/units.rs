//! Owns the units that scripts write as strings: durations (`"30s"`), sizes (`"64MiB"`), file modes (`"0640"`).

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A length of time: `"250ms"`, `"30s"`, `"10m"`, `"2h"`, `"3d"`, joined like `"1h30m"`; a bare number is seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span(pub Duration);

/// A size in bytes: `"512"`, `"64KiB"`, `"1.5GiB"`, `"10MB"`; a bare number is bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Size(pub u64);

/// Permission bits of a file, written in octal: `"0640"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Mode(pub u32);

/// The text is not a unit of the kind that was asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not {expected}")]
pub struct BadUnit {
    text: String,
    expected: &'static str,
}

impl BadUnit {
    fn new(text: &str, expected: &'static str) -> Self {
        Self { text: text.chars().take(64).collect(), expected }
    }
}

const SPAN_FORM: &str = "a duration such as \"30s\", \"10m\" or \"1h30m\"";
const SIZE_FORM: &str = "a size such as \"64MiB\" or \"10MB\"";
const MODE_FORM: &str = "a file mode such as \"0640\"";
/// 100 years: longer durations are mistakes and would overflow clock arithmetic.
const LONGEST_SECONDS: f64 = 100.0 * 366.0 * 86_400.0;

impl Span {
    /// A span of whole seconds.
    #[must_use]
    pub const fn seconds(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }

    fn from_seconds(seconds: f64, text: &str) -> Result<Self, BadUnit> {
        if !(0.0..=LONGEST_SECONDS).contains(&seconds) {
            return Err(BadUnit::new(text, "a duration between 0 and 100 years"));
        }
        Ok(Self(Duration::from_secs_f64(seconds)))
    }
}

impl FromStr for Span {
    type Err = BadUnit;

    fn from_str(text: &str) -> Result<Self, BadUnit> {
        let mut rest = text.trim();
        if rest.is_empty() {
            return Err(BadUnit::new(text, SPAN_FORM));
        }
        let mut seconds = 0.0;
        while !rest.is_empty() {
            let (number, after) = split_number(rest).ok_or_else(|| BadUnit::new(text, SPAN_FORM))?;
            let unit_end = after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len());
            let factor = match &after[..unit_end] {
                "ms" => 0.001,
                "s" => 1.0,
                "m" => 60.0,
                "h" => 3600.0,
                "d" => 86_400.0,
                "w" => 604_800.0,
                _ => return Err(BadUnit::new(text, SPAN_FORM)),
            };
            seconds += number * factor;
            rest = &after[unit_end..];
        }
        Self::from_seconds(seconds, text)
    }
}

impl fmt::Display for Span {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = self.0.as_millis();
        if !millis.is_multiple_of(1000) || millis == 0 {
            return if millis == 0 { formatter.write_str("0s") } else { write!(formatter, "{millis}ms") };
        }
        let mut seconds = self.0.as_secs();
        for (unit, length) in [("d", 86_400), ("h", 3600), ("m", 60), ("s", 1)] {
            if seconds >= length {
                write!(formatter, "{}{unit}", seconds / length)?;
                seconds %= length;
            }
        }
        Ok(())
    }
}

impl FromStr for Size {
    type Err = BadUnit;

    fn from_str(text: &str) -> Result<Self, BadUnit> {
        let bad = || BadUnit::new(text, SIZE_FORM);
        let (number, unit) = split_number(text.trim()).ok_or_else(bad)?;
        let factor: f64 = match unit.trim() {
            "" | "B" => 1.0,
            "kB" | "KB" => 1e3,
            "MB" => 1e6,
            "GB" => 1e9,
            "TB" => 1e12,
            "KiB" | "K" | "k" => 1024.0,
            "MiB" | "M" | "m" => 1024.0 * 1024.0,
            "GiB" | "G" | "g" => 1024.0 * 1024.0 * 1024.0,
            "TiB" | "T" => 1024.0 * 1024.0 * 1024.0 * 1024.0,
            _ => return Err(bad()),
        };
        let bytes = number * factor;
        if !(0.0..=9e15).contains(&bytes) {
            return Err(bad());
        }
        Ok(Self(bytes as u64))
    }
}

impl fmt::Display for Size {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (unit, shift) in [("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)] {
            if self.0 >= 1 << shift && self.0.is_multiple_of(1 << shift) {
                return write!(formatter, "{}{unit}", self.0 >> shift);
            }
        }
        write!(formatter, "{}B", self.0)
    }
}

impl FromStr for Mode {
    type Err = BadUnit;

    fn from_str(text: &str) -> Result<Self, BadUnit> {
        let digits = text.strip_prefix("0o").unwrap_or(text);
        match u32::from_str_radix(digits, 8) {
            Ok(bits) if bits <= 0o7777 && (3..=5).contains(&digits.len()) => Ok(Self(bits)),
            _ => Err(BadUnit::new(text, MODE_FORM)),
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:04o}", self.0)
    }
}

fn split_number(text: &str) -> Option<(f64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let number = text[..end].parse().ok()?;
    Some((number, &text[end..]))
}

struct UnitVisitor<T> {
    expected: &'static str,
    from_number: Option<fn(f64) -> Result<T, BadUnit>>,
}

impl<T: FromStr<Err = BadUnit>> de::Visitor<'_> for UnitVisitor<T> {
    type Value = T;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.expected)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(E::custom)
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<T, E> {
        match self.from_number {
            Some(convert) => convert(number).map_err(E::custom),
            None => Err(E::invalid_type(de::Unexpected::Float(number), &self)),
        }
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<T, E> {
        self.visit_f64(number as f64)
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<T, E> {
        self.visit_f64(number as f64)
    }
}

macro_rules! unit {
    ($type:ident, $form:expr, $example:literal, $number:expr, $types:tt) => {
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_any(UnitVisitor::<$type> { expected: $form, from_number: $number })
            }
        }

        impl JsonSchema for $type {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($type).into()
            }

            fn inline_schema() -> bool {
                true
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": $types, "x-unit": $form, "examples": [$example] })
            }
        }
    };
}

unit!(
    Span,
    SPAN_FORM,
    "30s",
    Some(|number| Span::from_seconds(number, &number.to_string())),
    ["string", "number"]
);
unit!(Size, SIZE_FORM, "64MiB", Some(|number: f64| number.to_string().parse()), ["string", "number"]);
unit!(Mode, MODE_FORM, "0640", None, "string");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_back_as_they_print() {
        for text in ["250ms", "30s", "10m", "1h30m", "3d", "0s"] {
            assert_eq!(text.parse::<Span>().unwrap().to_string(), text);
        }
        for bad in ["", "s", "10", "10 apples", "-1s", "1e9d", "9999999999d"] {
            assert!(bad.parse::<Span>().is_err(), "{bad}");
        }
    }

    #[test]
    fn sizes_know_binary_and_decimal_units() {
        assert_eq!("64MiB".parse::<Size>().unwrap().0, 64 << 20);
        assert_eq!("10MB".parse::<Size>().unwrap().0, 10_000_000);
        assert_eq!("64MiB".parse::<Size>().unwrap().to_string(), "64MiB");
        assert!("64 apples".parse::<Size>().is_err());
    }

    #[test]
    fn modes_are_octal() {
        assert_eq!("0640".parse::<Mode>().unwrap().0, 0o640);
        assert!("0999".parse::<Mode>().is_err());
        assert!("77777".parse::<Mode>().is_err());
    }
}
