//! A module's text in the languages of the back ends, as wgpu hands it to their drivers: validated,
//! for one entry point `main`, without bounds and loop checks (see `raw`).

use std::fmt::Write;

use naga::back::{hlsl, msl, spv};
use naga::proc::{BoundsCheckPolicies, BoundsCheckPolicy};
use naga::valid::{Capabilities, ModuleInfo, ValidationFlags, Validator};
use naga::{Module, ShaderStage};

/// No checks, as `gpu/raw.rs` creates modules.
const UNCHECKED: BoundsCheckPolicies = BoundsCheckPolicies {
    index: BoundsCheckPolicy::Unchecked,
    buffer: BoundsCheckPolicy::Unchecked,
    image_load: BoundsCheckPolicy::Unchecked,
    binding_array: BoundsCheckPolicy::Unchecked,
};

/// What a module may use beyond WebGPU's defaults.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Uses {
    /// Subgroup operations.
    pub subgroups: bool,
    /// 16-bit floats.
    pub f16: bool,
    /// 64-bit integers.
    pub int64: bool,
}

/// A parsed and validated module.
#[derive(Debug)]
pub struct Translation {
    /// Naga's module.
    pub module: Module,
    info: ModuleInfo,
    uses: Uses,
}

impl Translation {
    /// Parses and validates; `uses` is all that the module may use.
    ///
    /// # Errors
    /// Naga's words, with the place in the text.
    pub fn new(text: &str, uses: Uses) -> Result<Self, String> {
        // WebGPU has f16 storage through pack2x16float everywhere.
        let mut capabilities = Capabilities::SHADER_FLOAT16_IN_FLOAT32;
        capabilities.set(Capabilities::SUBGROUP, uses.subgroups);
        capabilities.set(Capabilities::SHADER_FLOAT16, uses.f16);
        capabilities.set(Capabilities::SHADER_INT64, uses.int64);
        let mut frontend = naga::front::wgsl::Frontend::new();
        frontend.set_options(naga::front::wgsl::Options { parse_doc_comments: false, capabilities });
        let module = frontend.parse(text).map_err(|e| e.emit_to_string(text))?;
        let mut validator = Validator::new(ValidationFlags::all(), capabilities);
        let info = validator.validate(&module).map_err(|e| e.emit_to_string(text))?;
        Ok(Self { module, info, uses })
    }

    /// SPIR-V words of a version, such as (1, 3).
    ///
    /// # Errors
    /// Naga's words.
    pub fn spirv(&self, version: (u8, u8)) -> Result<Vec<u32>, String> {
        let mut capabilities = vec![spv::Capability::Shader];
        if self.uses.subgroups {
            capabilities.extend([
                spv::Capability::GroupNonUniform,
                spv::Capability::GroupNonUniformArithmetic,
                spv::Capability::GroupNonUniformBallot,
                spv::Capability::GroupNonUniformShuffle,
            ]);
        }
        if self.uses.f16 {
            capabilities.push(spv::Capability::Float16);
        }
        if self.uses.int64 {
            capabilities.push(spv::Capability::Int64);
        }
        let options = spv::Options {
            lang_version: version,
            flags: spv::WriterFlags::LABEL_VARYINGS,
            capabilities: Some(capabilities.into_iter().collect()),
            bounds_check_policies: UNCHECKED,
            zero_initialize_workgroup_memory: spv::ZeroInitializeWorkgroupMemoryMode::None,
            force_loop_bounding: false,
            emit_int_div_checks: false,
            ..Default::default()
        };
        let main =
            spv::PipelineOptions { shader_stage: ShaderStage::Compute, entry_point: "main".to_string() };
        spv::write_vec(&self.module, &self.info, &options, Some(&main)).map_err(|e| e.to_string())
    }

    /// The lowest SPIR-V version that has what the module uses.
    pub fn lowest_spirv(&self) -> (u8, u8) {
        if self.uses.subgroups { (1, 3) } else { (1, 0) }
    }

    /// Metal's language, at the lowest version that has what the module uses. Places of buffers are
    /// those of the WGSL (wgpu chooses them when it makes a pipeline).
    ///
    /// # Errors
    /// Naga's words.
    pub fn msl(&self) -> Result<String, String> {
        let options = msl::Options {
            lang_version: if self.uses.subgroups { (2, 1) } else { (2, 0) },
            bounds_check_policies: UNCHECKED,
            zero_initialize_workgroup_memory: false,
            force_loop_bounding: false,
            emit_int_div_checks: false,
            ..Default::default()
        };
        let main = msl::PipelineOptions { entry_point: main_stage(), ..Default::default() };
        let (text, written) =
            msl::write_string(&self.module, &self.info, &options, &main).map_err(|e| e.to_string())?;
        for name in written.entry_point_names {
            name.map_err(|e| e.to_string())?;
        }
        Ok(text)
    }

    /// Direct3D's language, at the lowest shader model that has what the module uses.
    ///
    /// # Errors
    /// Naga's words.
    pub fn hlsl(&self) -> Result<String, String> {
        let options = hlsl::Options {
            shader_model: match self.uses {
                Uses { f16: true, .. } => hlsl::ShaderModel::V6_2,
                Uses { subgroups: true, .. } | Uses { int64: true, .. } => hlsl::ShaderModel::V6_0,
                _ => hlsl::ShaderModel::V5_1,
            },
            restrict_indexing: false,
            zero_initialize_workgroup_memory: false,
            force_loop_bounding: false,
            ..Default::default()
        };
        let mut text = String::new();
        let main = hlsl::PipelineOptions { entry_point: main_stage() };
        let mut writer = hlsl::Writer::new(&mut text, &options, &main);
        let written = writer.write(&self.module, &self.info, None).map_err(|e| e.to_string())?;
        let mut names = String::new();
        for name in written.entry_point_names {
            let name = name.map_err(|e| e.to_string())?;
            let _ = writeln!(names, "// entry point {name}, {:?}", options.shader_model);
        }
        Ok(names + &text)
    }
}

fn main_stage() -> Option<(ShaderStage, String)> {
    Some((ShaderStage::Compute, "main".into()))
}
