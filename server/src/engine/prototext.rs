//! Messages in protobuf's text format, on one line, as Go prints them.
//!
//! Must hold: what is zero is left out; of a value that somebody stores or compares with only its
//! size is told; nothing at all of a password, its hash, or a token.

use std::fmt::Write;

use prost::Message;
use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, ReflectMessage, Value};

use crate::gateway::pool;

/// Messages whose `value` is somebody's.
const WITH_VALUES: [&str; 2] = ["etcdserverpb.PutRequest", "etcdserverpb.Compare"];
/// Fields that are nobody's business.
const SECRETS: [&str; 4] = ["password", "hashedPassword", "simple_token", "token"];

/// A message of that name.
pub(super) fn message(name: &str, message: &impl Message) -> String {
    let Some(descriptor) = pool().get_message_by_name(name) else { return String::new() };
    let mut text = String::new();
    // What was encoded as this message is one.
    if let Ok(message) = DynamicMessage::decode(descriptor, message.encode_to_vec().as_slice()) {
        write_message(&mut text, &message);
    }
    text
}

fn write_message(text: &mut String, message: &DynamicMessage) {
    let of = message.descriptor().full_name().to_owned();
    for (field, value) in message.fields() {
        match (field.name(), value) {
            (secret, _) if SECRETS.contains(&secret) => {}
            ("value", Value::Bytes(bytes)) if WITH_VALUES.contains(&of.as_str()) => {
                if !bytes.is_empty() {
                    let _ = write!(text, "value_size:{} ", bytes.len());
                }
            }
            (_, Value::List(values)) => {
                values.iter().for_each(|value| write_field(text, &field, value));
            }
            _ => write_field(text, &field, value),
        }
    }
}

fn write_field(text: &mut String, field: &FieldDescriptor, value: &Value) {
    let _ = write!(text, "{}:", field.name());
    match value {
        Value::Message(message) => {
            text.push('<');
            write_message(text, message);
            text.push('>');
        }
        Value::EnumNumber(number) => {
            let name = match field.kind() {
                Kind::Enum(kind) => kind.get_value(*number).map(|value| value.name().to_owned()),
                _ => None,
            };
            text.push_str(&name.unwrap_or_else(|| number.to_string()));
        }
        Value::String(string) => write_quoted(text, string.as_bytes()),
        Value::Bytes(bytes) => write_quoted(text, bytes),
        Value::Bool(is) => text.push_str(&is.to_string()),
        Value::I32(number) => text.push_str(&number.to_string()),
        Value::I64(number) => text.push_str(&number.to_string()),
        Value::U32(number) => text.push_str(&number.to_string()),
        Value::U64(number) => text.push_str(&number.to_string()),
        // etcd's requests have no others.
        _ => {}
    }
    text.push(' ');
}

/// As protobuf's text format has it: what is not printable ASCII in octal.
fn write_quoted(text: &mut String, bytes: &[u8]) {
    text.push('"');
    for byte in bytes {
        match byte {
            b'\n' => text.push_str("\\n"),
            b'\r' => text.push_str("\\r"),
            b'\t' => text.push_str("\\t"),
            b'"' => text.push_str("\\\""),
            b'\\' => text.push_str("\\\\"),
            b' '..=b'~' => text.push(char::from(*byte)),
            _ => {
                let _ = write!(text, "\\{byte:03o}");
            }
        }
    }
    text.push('"');
}
