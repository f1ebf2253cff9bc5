//! The part of the crate image that a snippet uses. It reads no format: the pixels follow a mark after the file's own end,
//! as width, height (4 bytes each, little-endian) and rows of R, G, B.
use std::io::{Cursor, Error, ErrorKind};

const MARK: &[u8] = b"-- pixels of the test --";

#[derive(Clone, Copy)]
pub enum ColorType {
    Rgb8,
    Rgb32F,
    Rgba32F,
    L16,
    La16,
    Rgb16,
    Rgba16,
}

pub struct ImageReader<'a>(Cursor<&'a Vec<u8>>);
impl<'a> ImageReader<'a> {
    pub fn new(cursor: Cursor<&'a Vec<u8>>) -> Self {
        ImageReader(cursor)
    }
    pub fn with_guessed_format(self) -> Result<Self, Error> {
        Ok(self)
    }
    pub fn decode(self) -> Result<DynamicImage, Error> {
        let data = self.0.into_inner();
        let fault = || Error::new(ErrorKind::InvalidData, "no pixels");
        let at = data.windows(MARK.len()).rposition(|part| part == MARK).ok_or_else(fault)? + MARK.len();
        let side = |at: usize| u32::from_le_bytes(data[at..at + 4].try_into().unwrap());
        Ok(DynamicImage { width: side(at), height: side(at + 4), rgb: data[at + 8..].to_vec() })
    }
}

pub struct Buffer<T>(Vec<T>);
impl<T> Buffer<T> {
    pub fn into_raw(self) -> Vec<T> {
        self.0
    }
}

pub struct DynamicImage {
    width: u32,
    height: u32,
    rgb: Vec<u8>,
}
impl DynamicImage {
    pub fn width(&self) -> u32 {
        self.width
    }
    pub fn height(&self) -> u32 {
        self.height
    }
    pub fn color(&self) -> ColorType {
        ColorType::Rgb8
    }
    pub fn to_rgb8(&self) -> Buffer<u8> {
        Buffer(self.rgb.clone())
    }
    pub fn to_rgb16(&self) -> Buffer<u16> {
        Buffer(self.rgb.iter().map(|&level| u16::from(level) << 8).collect())
    }
}
