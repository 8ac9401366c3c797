//! Rotary position embedding: which angles a model turns by.

/// How the published frequencies are stretched for longer contexts.
#[derive(Clone, Debug, PartialEq)]
pub enum RopeScaling {
    /// As they are.
    None,
    /// All divided by one factor.
    Linear {
        /// At least 1 in practice; positive.
        factor: f64,
    },
    /// Llama 3.1's: long waves divided by `factor`, short ones kept, those between interpolated.
    Llama3 {
        /// The divisor of long waves.
        factor: f64,
        /// Waves longer than `original_max_position / low_freq_factor` are long.
        low_freq_factor: f64,
        /// Waves shorter than `original_max_position / high_freq_factor` are short.
        high_freq_factor: f64,
        /// The context that the model was first trained on, in tokens.
        original_max_position: f64,
    },
    /// Each frequency divided by its own factor (GGUF's tensor `rope_freqs.weight`),
    /// `rotary_dim / 2` of them.
    Factors(Vec<f32>),
}

/// A model's rotary embedding.
#[derive(Clone, Debug, PartialEq)]
pub struct Rope {
    /// Base of the frequencies.
    pub theta: f64,
    /// Dimensions of a head that are turned (all of them in the models known here). Even.
    pub rotary_dim: usize,
    /// Stretching.
    pub scaling: RopeScaling,
}

impl Rope {
    /// Radians per position of each of the `rotary_dim / 2` pairs:
    /// `theta^(-2i / rotary_dim)`, stretched.
    pub fn inverse_frequencies(&self) -> Vec<f64> {
        let plain =
            (0..self.rotary_dim / 2).map(|i| self.theta.powf(-(2.0 * i as f64) / self.rotary_dim as f64));
        match &self.scaling {
            RopeScaling::None => plain.collect(),
            RopeScaling::Linear { factor } => plain.map(|f| f / factor).collect(),
            RopeScaling::Factors(factors) => {
                plain.zip(factors).map(|(f, &factor)| f / f64::from(factor)).collect()
            }
            &RopeScaling::Llama3 {
                factor,
                low_freq_factor: low,
                high_freq_factor: high,
                original_max_position: original,
            } => plain
                .map(|f| {
                    let wave = std::f64::consts::TAU / f;
                    if wave < original / high {
                        f
                    } else if wave > original / low {
                        f / factor
                    } else {
                        let smooth = (original / wave - low) / (high - low);
                        (1.0 - smooth) * f / factor + smooth * f
                    }
                })
                .collect(),
        }
    }

    /// The `Err` names the figure that makes no sense.
    pub(super) fn check(&self) -> Result<(), String> {
        let positive = |name: &str, v: f64| {
            if v.is_finite() && v > 0.0 {
                Ok(())
            } else {
                Err(format!("expected a positive {name} of the rotary embedding, found {v}"))
            }
        };
        positive("base", self.theta)?;
        if self.rotary_dim < 2 || !self.rotary_dim.is_multiple_of(2) {
            return Err(format!("expected an even number of rotary dimensions, found {}", self.rotary_dim));
        }
        match &self.scaling {
            RopeScaling::None => Ok(()),
            RopeScaling::Linear { factor } => positive("scaling factor", *factor),
            RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_max_position } => {
                positive("scaling factor", *factor)?;
                positive("low_freq_factor", *low_freq_factor)?;
                positive("original_max_position_embeddings", *original_max_position)?;
                positive("high_freq_factor", *high_freq_factor)?;
                if low_freq_factor >= high_freq_factor {
                    return Err(format!(
                        "expected low_freq_factor below high_freq_factor, found \
                         {low_freq_factor} and {high_freq_factor}"
                    ));
                }
                Ok(())
            }
            RopeScaling::Factors(factors) => {
                if factors.len() != self.rotary_dim / 2 {
                    return Err(format!(
                        "expected {} rotary factors, found {}",
                        self.rotary_dim / 2,
                        factors.len()
                    ));
                }
                factors.iter().try_for_each(|&f| positive("frequency factor", f.into()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn llama3() -> Rope {
        Rope {
            theta: 500_000.0,
            rotary_dim: 128,
            scaling: RopeScaling::Llama3 {
                factor: 8.0,
                low_freq_factor: 1.0,
                high_freq_factor: 4.0,
                original_max_position: 8192.0,
            },
        }
    }

    #[test]
    fn llama3_keeps_short_waves_and_divides_long_ones() {
        let plain = Rope { scaling: RopeScaling::None, ..llama3() }.inverse_frequencies();
        let scaled = llama3().inverse_frequencies();
        assert_eq!(scaled.len(), 64);
        assert_eq!(scaled[0], 1.0);
        assert_eq!(scaled[63], plain[63] / 8.0);
        // Waves of 2,048 to 8,192 tokens are interpolated: pairs 29 to 34 of this model.
        for i in 29..=34 {
            assert!(plain[i] / 8.0 < scaled[i] && scaled[i] < plain[i], "{i}");
        }
        assert_eq!(scaled[28], plain[28]);
        assert_eq!(scaled[35], plain[35] / 8.0);
        let linear = Rope { scaling: RopeScaling::Linear { factor: 4.0 }, ..llama3() };
        assert_eq!(linear.inverse_frequencies()[5], plain[5] / 4.0);
    }

    #[test]
    fn senseless_figures_are_refused() {
        assert!(llama3().check().is_ok());
        assert!(Rope { rotary_dim: 7, ..llama3() }.check().is_err());
        assert!(Rope { theta: f64::NAN, ..llama3() }.check().is_err());
        let zero = RopeScaling::Linear { factor: 0.0 };
        assert!(Rope { scaling: zero, ..llama3() }.check().is_err());
        let short = RopeScaling::Factors(vec![1.0; 63]);
        assert!(Rope { scaling: short, ..llama3() }.check().is_err());
    }
}
