// What changes from step to step and every kernel may ask (src/model/plan.rs writes it).
struct Step {
    tokens: u32,   // tokens computed in this step
    outputs: u32,  // tokens whose logits are wanted
    tiles: u32,    // attention tiles
    splits: u32,   // workgroups that share an attention tile's keys
}
