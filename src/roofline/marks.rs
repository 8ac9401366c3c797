//! Shapes of marks in pictures: which step a dot is of, where colour says which kernel.

use std::f64::consts::PI;

/// A shape. All of one radius have about the same area.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    Circle,
    Square,
    Triangle,
    Diamond,
    Downwards,
    Hexagon,
}

impl Shape {
    /// Of the so many-th step.
    pub fn of(step: usize) -> Self {
        let all = [Self::Circle, Self::Square, Self::Triangle, Self::Diamond, Self::Downwards, Self::Hexagon];
        all[step % all.len()]
    }

    /// The element.
    pub fn element(self, class: &str, [x, y]: [f64; 2], radius: f64) -> String {
        // Corners, and the turn of the first, clockwise from the right.
        let (corners, turn) = match self {
            Self::Circle => {
                return format!("<circle class=\"{class}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{radius:.1}\"/>");
            }
            Self::Square => {
                let side = radius * PI.sqrt();
                let (left, top) = (x - side / 2.0, y - side / 2.0);
                return format!(
                    "<rect class=\"{class}\" x=\"{left:.1}\" y=\"{top:.1}\" width=\"{side:.1}\" height=\"{side:.1}\"/>"
                );
            }
            Self::Triangle => (3, -0.5),
            Self::Diamond => (4, 0.5),
            Self::Downwards => (3, 0.5),
            Self::Hexagon => (6, 0.5),
        };
        let n = f64::from(corners);
        // A regular polygon's area is n / 2 R^2 sin(2 pi / n).
        let reach = radius * (2.0 * PI / (n * (2.0 * PI / n).sin())).sqrt();
        let at = |i: u32| {
            let angle = PI * (turn + 2.0 * f64::from(i) / n);
            format!("{:.1},{:.1}", x + reach * angle.cos(), y + reach * angle.sin())
        };
        let points: Vec<String> = (0..corners).map(at).collect();
        format!("<polygon class=\"{class}\" points=\"{}\"/>", points.join(" "))
    }
}
