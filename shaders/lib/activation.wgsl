// SiLU: v * sigmoid(v). With GELU, its tanh form (Hendrycks & Gimpel 2016):
// 0.5 v (1 + tanh(sqrt(2/pi) (v + 0.044715 v^3))), and 0.5 (1 + tanh z) = 1 - 1 / (exp(2z) + 1).
fn activate(v: f32) -> f32 {
#ifdef GELU
    let z = 0.7978845608028654 * v * (1.0 + 0.044715 * v * v);
    return v * (1.0 - 1.0 / (exp(2.0 * z) + 1.0));
#else
    return v / (1.0 + exp(-v));
#endif
}
