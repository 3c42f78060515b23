//! Canonical JSON (RFC 8785) of plain data: keys sorted by UTF-16 units, no white space, shortest
//! numbers. Written straight from the data, without a tree of values in between: plans of
//! thousands of tables are hashed by every command.

use std::cmp::Ordering;

use serde::Serialize;
use serde::ser::{
    SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant, SerializeTuple,
    SerializeTupleStruct, SerializeTupleVariant, Serializer,
};
use serde_json::Error;

/// Canonical JSON as text.
pub fn canonical<T: Serialize + ?Sized>(data: &T) -> String {
    let mut writer = Writer::default();
    writer.write(data);
    String::from_utf8(writer.out).expect("broken invariant: JSON is text")
}

/// Writes one value after another, keeping its buffers.
#[derive(Default)]
pub(super) struct Writer {
    out: Vec<u8>,
    /// Fields of the objects that are open, the innermost last.
    fields: Vec<Field>,
    /// Where an object's fields are put in order.
    sorting: Vec<u8>,
}

struct Field {
    key: Key,
    /// Where `"key":value,` begins; it ends where the next one begins.
    start: usize,
}

enum Key {
    Known(&'static str),
    Own(String),
}

impl Key {
    fn text(&self) -> &str {
        match self {
            Self::Known(text) => text,
            Self::Own(text) => text,
        }
    }

    fn order(&self, other: &Self) -> Ordering {
        let (a, b) = (self.text(), other.text());
        // Plain letters sort the same in both ways.
        if a.is_ascii() && b.is_ascii() { a.cmp(b) } else { a.encode_utf16().cmp(b.encode_utf16()) }
    }
}

impl Writer {
    /// The bytes of this value alone. Nothing in our own plain data can fail to be written.
    pub(super) fn write<T: Serialize + ?Sized>(&mut self, data: &T) -> &[u8] {
        self.out.clear();
        self.fields.clear();
        data.serialize(&mut *self).expect("broken invariant: plans are plain data");
        &self.out
    }

    fn simple<T: Serialize + ?Sized>(&mut self, data: &T) -> Result<(), Error> {
        serde_json::to_writer(&mut self.out, data)
    }

    /// A whole float is written as ECMAScript writes it: without a fraction.
    fn float(&mut self, number: impl Serialize) -> Result<(), Error> {
        let start = self.out.len();
        self.simple(&number)?;
        if self.out.ends_with(b".0") {
            self.out.truncate(self.out.len() - 2);
        }
        if &self.out[start..] == b"-0" {
            self.out.remove(start);
        }
        Ok(())
    }

    fn open_list(&mut self) -> List<'_> {
        self.out.push(b'[');
        List { writer: self, named: false }
    }

    fn open_object(&mut self) -> Object<'_> {
        self.out.push(b'{');
        Object { first: self.fields.len(), start: self.out.len(), writer: self, named: false }
    }

    /// `{"variant":`, which [`Self::close`] ends.
    fn open_variant(&mut self, variant: &'static str) -> Result<(), Error> {
        self.out.push(b'{');
        self.simple(variant)?;
        self.out.push(b':');
        Ok(())
    }

    /// Ends what was opened, with the variant around it where it has a name.
    fn close(&mut self, mark: u8, named: bool) {
        if self.out.last() == Some(&b',') {
            self.out.pop();
        }
        self.out.push(mark);
        if named {
            self.out.push(b'}');
        }
    }
}

/// An array that is being written, each item with a comma behind it.
pub(super) struct List<'w> {
    writer: &'w mut Writer,
    named: bool,
}

impl List<'_> {
    fn item<T: Serialize + ?Sized>(&mut self, item: &T) -> Result<(), Error> {
        item.serialize(&mut *self.writer)?;
        self.writer.out.push(b',');
        Ok(())
    }

    fn close(self) {
        self.writer.close(b']', self.named);
    }
}

/// An object that is being written.
pub(super) struct Object<'w> {
    writer: &'w mut Writer,
    /// Its first field, and where that begins.
    first: usize,
    start: usize,
    named: bool,
}

impl Object<'_> {
    fn field<T: Serialize + ?Sized>(&mut self, key: &'static str, value: &T) -> Result<(), Error> {
        let start = self.writer.out.len();
        self.writer.simple(key)?;
        self.writer.fields.push(Field { key: Key::Known(key), start });
        self.value(value)
    }

    fn key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Error> {
        let start = self.writer.out.len();
        key.serialize(&mut *self.writer)?;
        let key = serde_json::from_slice(&self.writer.out[start..])?;
        self.writer.fields.push(Field { key: Key::Own(key), start });
        Ok(())
    }

    fn value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        self.writer.out.push(b':');
        value.serialize(&mut *self.writer)?;
        self.writer.out.push(b',');
        Ok(())
    }

    fn close(self) {
        let Writer { out, fields, sorting } = self.writer;
        let own = &mut fields[self.first..];
        if !own.is_sorted_by(|a, b| a.key.order(&b.key).is_le()) {
            let ends = own.iter().skip(1).map(|field| field.start).chain([out.len()]);
            let mut pieces: Vec<(usize, usize)> = ends.enumerate().collect();
            pieces.sort_by(|(a, _), (b, _)| own[*a].key.order(&own[*b].key));
            sorting.clear();
            for (at, end) in pieces {
                sorting.extend_from_slice(&out[own[at].start..end]);
            }
            out[self.start..].copy_from_slice(sorting);
        }
        fields.truncate(self.first);
        self.writer.close(b'}', self.named);
    }
}

macro_rules! plain {
    ($($method:ident: $type:ty),*) => {
        $(fn $method(self, value: $type) -> Result<(), Error> {
            self.simple(&value)
        })*
    };
}

impl<'w> Serializer for &'w mut Writer {
    type Ok = ();
    type Error = Error;
    type SerializeSeq = List<'w>;
    type SerializeTuple = List<'w>;
    type SerializeTupleStruct = List<'w>;
    type SerializeTupleVariant = List<'w>;
    type SerializeMap = Object<'w>;
    type SerializeStruct = Object<'w>;
    type SerializeStructVariant = Object<'w>;

    plain! {
        serialize_bool: bool, serialize_i8: i8, serialize_i16: i16, serialize_i32: i32, serialize_i64: i64,
        serialize_i128: i128, serialize_u8: u8, serialize_u16: u16, serialize_u32: u32, serialize_u64: u64,
        serialize_u128: u128, serialize_char: char, serialize_str: &str, serialize_bytes: &[u8]
    }

    fn serialize_f32(self, number: f32) -> Result<(), Error> {
        self.float(number)
    }

    fn serialize_f64(self, number: f64) -> Result<(), Error> {
        self.float(number)
    }

    fn serialize_none(self) -> Result<(), Error> {
        self.serialize_unit()
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Error> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<(), Error> {
        self.simple(&())
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<(), Error> {
        self.serialize_unit()
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, variant: &'static str) -> Result<(), Error> {
        self.simple(variant)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<(), Error> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<(), Error> {
        self.open_variant(variant)?;
        value.serialize(&mut *self)?;
        self.out.push(b'}');
        Ok(())
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<List<'w>, Error> {
        Ok(self.open_list())
    }

    fn serialize_tuple(self, _: usize) -> Result<List<'w>, Error> {
        Ok(self.open_list())
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<List<'w>, Error> {
        Ok(self.open_list())
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<List<'w>, Error> {
        self.open_variant(variant)?;
        Ok(List { named: true, ..self.open_list() })
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Object<'w>, Error> {
        Ok(self.open_object())
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Object<'w>, Error> {
        Ok(self.open_object())
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Object<'w>, Error> {
        self.open_variant(variant)?;
        Ok(Object { named: true, ..self.open_object() })
    }
}

macro_rules! lists {
    ($($part:ident: $method:ident),*) => {
        $(impl $part for List<'_> {
            type Ok = ();
            type Error = Error;

            fn $method<T: Serialize + ?Sized>(&mut self, item: &T) -> Result<(), Error> {
                self.item(item)
            }

            fn end(self) -> Result<(), Error> {
                self.close();
                Ok(())
            }
        })*
    };
}

lists! {
    SerializeSeq: serialize_element, SerializeTuple: serialize_element,
    SerializeTupleStruct: serialize_field, SerializeTupleVariant: serialize_field
}

macro_rules! objects {
    ($($part:ident),*) => {
        $(impl $part for Object<'_> {
            type Ok = ();
            type Error = Error;

            fn serialize_field<T: Serialize + ?Sized>(
                &mut self,
                key: &'static str,
                value: &T,
            ) -> Result<(), Error> {
                self.field(key, value)
            }

            fn end(self) -> Result<(), Error> {
                self.close();
                Ok(())
            }
        })*
    };
}

objects! { SerializeStruct, SerializeStructVariant }

impl SerializeMap for Object<'_> {
    type Ok = ();
    type Error = Error;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Error> {
        self.key(key)
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        self.value(value)
    }

    fn end(self) -> Result<(), Error> {
        self.close();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn canonical_json_sorts_keys_and_writes_the_shortest_numbers() {
        let value = json!({ "b": [1.0, 0.005, -0.0, 12], "a": { "\u{e9}": null, "z": "q\"\n" } });
        assert_eq!(canonical(&value), "{\"a\":{\"z\":\"q\\\"\\n\",\"é\":null},\"b\":[1,0.005,0,12]}");
    }

    #[test]
    fn keys_sort_by_utf_16_units() {
        // U+10000 begins with the unit D800, which is below U+FFFD.
        let value = json!({ "\u{fffd}": 1, "\u{10000}": 2, "a": 3, "": 4 });
        assert_eq!(canonical(&value), "{\"\":4,\"a\":3,\"\u{10000}\":2,\"\u{fffd}\":1}");
    }

    #[derive(Serialize)]
    enum Shape {
        Unit,
        One(u8),
        Two(i64, &'static str),
        Fields { z: Option<bool>, a: (char, [u8; 0]) },
    }

    #[derive(Serialize)]
    struct Wrapped(Vec<Shape>);

    #[test]
    fn every_shape_of_data_is_written_as_serde_json_means_it() {
        let shapes = Wrapped(vec![
            Shape::Unit,
            Shape::One(7),
            Shape::Two(-1, ","),
            Shape::Fields { z: None, a: ('"', []) },
            Shape::Fields { z: Some(true), a: ('x', []) },
        ]);
        let text = canonical(&shapes);
        let read: Value = serde_json::from_str(&text).expect("it is JSON");
        assert_eq!(read, serde_json::to_value(&shapes).expect("plain data"));
        assert_eq!(text, canonical(&read));
    }

    #[test]
    fn a_writer_forgets_what_it_wrote_before() {
        let mut writer = Writer::default();
        writer.write(&json!({ "b": { "d": 1, "c": 2 }, "a": 3 }));
        assert_eq!(writer.write(&json!({ "y": [], "x": {} })), b"{\"x\":{},\"y\":[]}");
    }
}
