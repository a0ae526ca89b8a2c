//! The picture in a mail: memory over the last hour, its limit, where it leads. A PNG, since mail
//! programs show no SVG, on a ground of its own, so that it can be read whatever the program's
//! colours are.

use ab_glyph::{Font as _, FontRef, Glyph, PxScale, ScaleFont as _, point};
use zeno::{Cap, Command, Join, Mask, PathBuilder as _, Stroke};

use super::{
    scene::{HOLE_MS, Scene},
    unit,
};

/// Size in the mail; the picture has twice as many pixels, for fine screens.
pub(super) const WIDTH: u32 = 600;
pub(super) const HEIGHT: u32 = 250;
const SCALE: f32 = 2.0;

/// Letters of European scripts; what it lacks is drawn as a box.
const FONT: &[u8] = include_bytes!("font/DejaVuSans-subset.ttf");

const TEXT_SIZE: f32 = 12.0;

/// Where the plot is.
const LEFT: f32 = 66.0;
const TOP: f32 = 40.0;
const RIGHT: f32 = 586.0;
const BOTTOM: f32 = 222.0;

/// Lines across, at most.
const ROWS_MAX: f64 = 5.0;

/// The longest time a picture shows.
const SPAN_MS_MAX: i64 = 24 * 60 * MINUTE_MS;

/// What is more is no memory of this world.
const BYTES_MAX: f64 = 1e18;

/// Room above the highest figure.
const HEADROOM: f64 = 1.08;

const MINUTE_MS: i64 = 60 * 1000;

/// A line for every so many minutes.
const TICK_MS: i64 = 10 * MINUTE_MS;

type Colour = [u8; 3];

const GROUND: Colour = [255, 255, 255];
const FRAME: Colour = [206, 212, 218];
const GRID: Colour = [231, 234, 238];
const INK: Colour = [73, 80, 87];
const MEMORY: Colour = [31, 111, 235];
const LIMIT: Colour = [198, 40, 40];
const AHEAD: Colour = [217, 119, 6];

/// Strength of the area under the line.
const AREA: f32 = 0.14;

/// Why a picture could not be made.
#[derive(Debug, thiserror::Error)]
pub enum PictureError {
    /// Our own letters cannot be read.
    #[error("cannot read the letters of a picture")]
    Font(#[from] ab_glyph::InvalidFont),
    /// It cannot be written as PNG.
    #[error("cannot write a picture")]
    Write(#[from] png::EncodingError),
}

/// Pixels, and the letters to write on them.
struct Canvas {
    font: FontRef<'static>,
    width: u32,
    height: u32,
    pixels: Vec<u8>,
    mask: Vec<u8>,
}

/// Where figures are on the canvas.
struct Frame {
    from_ms: i64,
    to_ms: i64,
    top: f64,
}

/// `scene` as a PNG.
pub(super) fn png(scene: &Scene) -> Result<Vec<u8>, PictureError> {
    let scene = &possible(scene);
    let mut canvas = Canvas::new()?;
    let frame = Frame::of(scene);
    canvas.ground();
    canvas.grid(&frame);
    canvas.head(scene);
    canvas.memory(scene, &frame);
    canvas.bounds(scene, &frame);
    canvas.write()
}

/// `scene` without figures that none can be.
fn possible(scene: &Scene) -> Scene {
    let is = |bytes: f64| (0.0..=BYTES_MAX).contains(&bytes);
    let within = scene.from_ms..=scene.from_ms.saturating_add(SPAN_MS_MAX);
    let memory = scene.memory.iter().copied();
    Scene {
        to_ms: scene.to_ms.min(*within.end()),
        memory: memory
            .filter(|(at_ms, bytes)| within.contains(at_ms) && is(*bytes))
            .collect(),
        limit_bytes: scene.limit_bytes.filter(|limit| is(*limit)),
        leads_to: scene.leads_to.filter(|(_, bytes)| is(*bytes)),
        ..scene.clone()
    }
}

// === impl Frame ===

impl Frame {
    fn of(scene: &Scene) -> Self {
        let ahead = scene.leads_to.iter();
        let figures = scene.memory.iter().chain(ahead).map(|(_, bytes)| *bytes);
        let highest = figures.chain(scene.limit_bytes).fold(1.0, f64::max);
        Self {
            from_ms: scene.from_ms,
            to_ms: scene.to_ms.max(scene.from_ms + 1),
            top: highest * HEADROOM,
        }
    }

    fn x(&self, at_ms: i64) -> f32 {
        let share = (at_ms - self.from_ms) as f32 / (self.to_ms - self.from_ms) as f32;
        LEFT + share.clamp(0.0, 1.0) * (RIGHT - LEFT)
    }

    fn y(&self, bytes: f64) -> f32 {
        let share = (bytes / self.top).clamp(0.0, 1.0) as f32;
        BOTTOM - share * (BOTTOM - TOP)
    }

    /// A whole binary figure: 1, 2 or 4 of a power of 1024, or such parts of it.
    fn row_bytes(&self) -> f64 {
        let mut step = 1024.0;
        while self.top / step > ROWS_MAX {
            step *= 2.0;
        }
        step
    }
}

// === impl Canvas ===

impl Canvas {
    fn new() -> Result<Self, PictureError> {
        let (width, height) = (WIDTH * SCALE as u32, HEIGHT * SCALE as u32);
        let area = (width * height) as usize;
        Ok(Self {
            font: FontRef::try_from_slice(FONT)?,
            width,
            height,
            pixels: GROUND.repeat(area),
            mask: vec![0; area],
        })
    }

    fn ground(&mut self) {
        let (w, h) = (WIDTH as f32 - 0.5, HEIGHT as f32 - 0.5);
        let mut frame: Vec<Command> = Vec::new();
        path(&mut frame, &[(0.5, 0.5), (w, 0.5), (w, h), (0.5, h)]);
        frame.close();
        self.stroke(&frame, 1.0, FRAME, &[]);
    }

    fn grid(&mut self, frame: &Frame) {
        let step = frame.row_bytes();
        let mut bytes = 0.0;
        while bytes <= frame.top {
            let y = frame.y(bytes);
            self.line(&[(LEFT, y), (RIGHT, y)], 1.0, GRID, &[]);
            let words = unit::bytes(bytes);
            let width = self.width_of(&words);
            self.text((LEFT - 8.0 - width, y + 4.0), &words, INK);
            bytes += step;
        }
        let mut at_ms = frame.from_ms.div_euclid(TICK_MS) * TICK_MS + TICK_MS;
        while at_ms < frame.to_ms {
            let x = frame.x(at_ms);
            self.line(&[(x, TOP), (x, BOTTOM)], 1.0, GRID, &[]);
            let words = unit::clock(at_ms);
            let half = self.width_of(&words) / 2.0;
            // The last one would run out of the picture, or into the word that says the zone.
            if x + half < RIGHT - 30.0 {
                self.text((x - half, BOTTOM + 18.0), &words, INK);
            }
            at_ms += TICK_MS;
        }
        let utc = self.width_of("UTC");
        self.text((RIGHT - utc, BOTTOM + 18.0), "UTC", INK);
    }

    /// What is what.
    fn head(&mut self, scene: &Scene) {
        self.text((14.0, 24.0), "Memory of the server", INK);
        let mut x = RIGHT;
        let mut entries: Vec<(&str, Colour, &[f32])> = vec![("memory", MEMORY, &[])];
        if scene.limit_bytes.is_some() {
            entries.push(("limit", LIMIT, &[6.0, 4.0]));
        }
        if scene.leads_to.is_some() {
            entries.push(("if it goes on", AHEAD, &[2.0, 3.0]));
        }
        if scene.ended_ms.is_some() {
            entries.push(("killed", INK, &[1.0, 2.0]));
        }
        for (words, colour, dash) in entries.into_iter().rev() {
            x -= self.width_of(words);
            self.text((x, 24.0), words, INK);
            x -= 28.0;
            self.line(&[(x, 20.0), (x + 22.0, 20.0)], 2.0, colour, dash);
            x -= 16.0;
        }
    }

    fn memory(&mut self, scene: &Scene, frame: &Frame) {
        for piece in scene.memory.chunk_by(|a, b| b.0 - a.0 <= HOLE_MS) {
            let points: Vec<(f32, f32)> = piece
                .iter()
                .map(|(at_ms, bytes)| (frame.x(*at_ms), frame.y(*bytes)))
                .collect();
            let (Some(first), Some(last)) = (points.first(), points.last()) else {
                continue;
            };
            let mut area: Vec<Command> = Vec::new();
            path(&mut area, &points);
            area.line_to([last.0 * SCALE, BOTTOM * SCALE]);
            area.line_to([first.0 * SCALE, BOTTOM * SCALE]);
            area.close();
            self.mask.fill(0);
            let mut mask = Mask::new(&area);
            mask.size(self.width, self.height);
            mask.render_into(&mut self.mask, None);
            self.blend(MEMORY, AREA);
            self.line(&points, 2.0, MEMORY, &[]);
        }
    }

    fn bounds(&mut self, scene: &Scene, frame: &Frame) {
        if let Some(limit) = scene.limit_bytes {
            let y = frame.y(limit);
            self.line(&[(LEFT, y), (RIGHT, y)], 1.5, LIMIT, &[6.0, 4.0]);
        }
        if let (Some(from), Some(to)) = (scene.memory.last(), scene.leads_to) {
            let at = |(at_ms, bytes): (i64, f64)| (frame.x(at_ms), frame.y(bytes));
            self.line(&[at(*from), at(to)], 2.0, AHEAD, &[2.0, 3.0]);
        }
        if let Some(ended_ms) = scene.ended_ms {
            let x = frame.x(ended_ms);
            self.line(&[(x, TOP), (x, BOTTOM)], 1.5, INK, &[1.0, 2.0]);
        }
    }

    // === strokes and letters ===

    fn line(&mut self, points: &[(f32, f32)], width: f32, colour: Colour, dash: &[f32]) {
        let mut line: Vec<Command> = Vec::new();
        path(&mut line, points);
        self.stroke(&line, width, colour, dash);
    }

    fn stroke(&mut self, line: &[Command], width: f32, colour: Colour, dash: &[f32]) {
        let dash: Vec<f32> = dash.iter().map(|part| part * SCALE).collect();
        let mut stroke = Stroke::new(width * SCALE);
        stroke.cap(Cap::Butt).join(Join::Round);
        if !dash.is_empty() {
            stroke.dash(&dash, 0.0);
        }
        self.mask.fill(0);
        let mut mask = Mask::new(line);
        mask.size(self.width, self.height).style(stroke);
        mask.render_into(&mut self.mask, None);
        self.blend(colour, 1.0);
    }

    fn blend(&mut self, colour: Colour, strength: f32) {
        for (pixel, cover) in self.pixels.chunks_exact_mut(3).zip(&self.mask) {
            if *cover > 0 {
                mix(pixel, colour, f32::from(*cover) / 255.0 * strength);
            }
        }
    }

    fn width_of(&self, words: &str) -> f32 {
        let font = self.font.as_scaled(PxScale::from(TEXT_SIZE));
        let width = |c| font.h_advance(font.glyph_id(c));
        words.chars().map(width).sum()
    }

    /// Writes `words` from `at` on, whose height is that of the line they stand on.
    fn text(&mut self, at: (f32, f32), words: &str, colour: Colour) {
        let scale = PxScale::from(TEXT_SIZE * SCALE);
        let font = self.font.clone();
        let font = font.as_scaled(scale);
        let mut x = at.0 * SCALE;
        for c in words.chars() {
            let id = font.glyph_id(c);
            let glyph: Glyph = id.with_scale_and_position(scale, point(x, at.1 * SCALE));
            x += font.h_advance(id);
            let Some(outline) = font.outline_glyph(glyph) else {
                continue;
            };
            let corner = outline.px_bounds().min;
            let (width, height) = (self.width, self.height);
            let pixels = &mut self.pixels;
            outline.draw(|dx, dy, cover| {
                let (x, y) = (
                    corner.x as i64 + i64::from(dx),
                    corner.y as i64 + i64::from(dy),
                );
                let inside =
                    (0..i64::from(width)).contains(&x) && (0..i64::from(height)).contains(&y);
                if inside {
                    let start = (y as usize * width as usize + x as usize) * 3;
                    mix(&mut pixels[start..start + 3], colour, cover.min(1.0));
                }
            });
        }
    }

    fn write(&self) -> Result<Vec<u8>, PictureError> {
        let mut bytes = Vec::new();
        let mut encoder = png::Encoder::new(&mut bytes, self.width, self.height);
        encoder.set_color(png::ColorType::Rgb);
        encoder.set_depth(png::BitDepth::Eight);
        encoder.set_compression(png::Compression::Balanced);
        encoder.write_header()?.write_image_data(&self.pixels)?;
        Ok(bytes)
    }
}

fn path(into: &mut Vec<Command>, points: &[(f32, f32)]) {
    for (at, (x, y)) in points.iter().enumerate() {
        let point = [x * SCALE, y * SCALE];
        if at == 0 {
            into.move_to(point);
        } else {
            into.line_to(point);
        }
    }
}

fn mix(pixel: &mut [u8], colour: Colour, share: f32) {
    for (under, over) in pixel.iter_mut().zip(colour) {
        let mixed = f32::from(*under) * (1.0 - share) + f32::from(over) * share;
        *under = mixed.round() as u8;
    }
}
