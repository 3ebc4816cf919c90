//! Messages to JSON and back.

use prost::Message;
use prost_reflect::{DeserializeOptions, DynamicMessage, MessageDescriptor, SerializeOptions};

/// The next message of a stream of JSON values, as bytes of its wire format. `None` at the end.
///
/// # Errors
/// What is wrong with the JSON.
pub(super) fn decode(
    descriptor: MessageDescriptor,
    text: &[u8],
) -> Result<Option<(Vec<u8>, usize)>, String> {
    let start = text.iter().position(|byte| !byte.is_ascii_whitespace());
    let Some(start) = start else { return Ok(None) };
    let options = DeserializeOptions::new().deny_unknown_fields(false);
    let mut values =
        serde_json::Deserializer::from_slice(&text[start..]).into_iter::<serde_json::Value>();
    let value = match values.next() {
        Some(Ok(value)) => value,
        Some(Err(error)) if error.is_eof() => return Err("unexpected EOF".to_owned()),
        Some(Err(error)) => return Err(format!("proto: syntax error: {error}")),
        None => return Ok(None),
    };
    let end = start + values.byte_offset();
    let message = DynamicMessage::deserialize_with_options(descriptor, value, &options)
        .map_err(|error| format!("proto: {error}"))?;
    Ok(Some((message.encode_to_vec(), end)))
}

/// A message's JSON.
///
/// # Errors
/// The bytes are not such a message.
pub(super) fn encode(descriptor: MessageDescriptor, bytes: &[u8]) -> Result<Vec<u8>, String> {
    let message = DynamicMessage::decode(descriptor, bytes).map_err(|error| error.to_string())?;
    let options = SerializeOptions::new()
        .use_proto_field_name(true)
        .stringify_64_bit_integers(true)
        .skip_default_fields(true);
    let mut text = Vec::new();
    let mut serializer = serde_json::Serializer::new(&mut text);
    message.serialize_with_options(&mut serializer, &options).map_err(|error| error.to_string())?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::pool;
    use proptest::prelude::*;

    fn message(name: &str) -> MessageDescriptor {
        pool().get_message_by_name(&format!("etcdserverpb.{name}")).unwrap()
    }

    fn back(name: &str, text: &str) -> Result<String, String> {
        let decoded = decode(message(name), text.as_bytes())?;
        let (bytes, _) = decoded.unwrap_or_default();
        Ok(String::from_utf8(encode(message(name), &bytes)?).unwrap())
    }

    #[test]
    fn messages_survive_the_way_there_and_back() {
        for (name, given, comes_back) in [
            ("RangeRequest", r#"{"key":"Zm9v","range_end":"AA==","limit":"5"}"#, None),
            ("RangeRequest", r#"{"key":"Zm9v","limit":5}"#, Some(r#"{"key":"Zm9v","limit":"5"}"#)),
            ("RangeRequest", r#"{"rangeEnd":"AA=="}"#, Some(r#"{"range_end":"AA=="}"#)),
            ("RangeRequest", r#"{"sort_order":"DESCEND","serializable":true}"#, None),
            ("RangeRequest", r#"{"sort_order":1}"#, Some(r#"{"sort_order":"ASCEND"}"#)),
            ("RangeRequest", r#"{"nobody":{"knows":1}}"#, Some("{}")),
            ("RangeRequest", r#"{"key":null}"#, Some("{}")),
            ("RangeRequest", "{}", None),
            ("RangeRequest", "", Some("{}")),
            ("LeaseGrantRequest", r#"{"TTL":"60","ID":"-7"}"#, None),
            ("MemberAddRequest", r#"{"peerURLs":["http://a:1"],"isLearner":true}"#, None),
            (
                "TxnRequest",
                r#"{"compare":[{"result":"GREATER","target":"CREATE","key":"Zg==","create_revision":"0"}],"success":[{"request_put":{"key":"Zg=="}}]}"#,
                None,
            ),
            ("WatchRequest", r#"{"create_request":{"key":"Zg==","start_revision":"1"}}"#, None),
        ] {
            let wanted = comes_back.unwrap_or(given);
            assert_eq!(back(name, given).as_deref(), Ok(wanted), "{name} {given}");
        }
    }

    #[test]
    fn bad_json_is_told() {
        for text in [r#"{"key":5}"#, r#"{"key":"Zg!"}"#, "{bad", "[]", r#"{"limit":"x"}"#] {
            assert!(back("RangeRequest", text).is_err(), "{text}");
        }
        assert_eq!(back("RangeRequest", r#"{"key":"#).unwrap_err(), "unexpected EOF");
    }

    #[test]
    fn several_values_follow_one_another() {
        let text = br#" {"ID":"1"} {"ID":"2"}"#;
        let (first, end) = decode(message("LeaseKeepAliveRequest"), text).unwrap().unwrap();
        let (second, rest) =
            decode(message("LeaseKeepAliveRequest"), &text[end..]).unwrap().unwrap();
        assert_eq!((first, second), (vec![8, 1], vec![8, 2]));
        assert_eq!(end + rest, text.len());
        assert_eq!(decode(message("LeaseKeepAliveRequest"), b" \n").unwrap(), None);
    }

    proptest! {
        #[test]
        fn any_text_is_survived(text in "[{}\\[\\]\":,a-z0-9 ]{0,60}") {
            let _ = decode(message("TxnRequest"), text.as_bytes());
        }
    }
}
