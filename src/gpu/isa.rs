//! What a Vulkan driver's compiler makes of a module, without running it: registers, spills, memory,
//! occupancy and its own estimate of time, by VK_KHR_pipeline_executable_properties.
//!
//! Pipelines are made as wgpu makes them (wgpu-hal 30, vulkan/adapter.rs and device.rs): robust buffer
//! access where there is any, subgroups of varying size, the newest SPIR-V that the device takes. What
//! differs would change the registers. wgpu offers no way to the extension, hence ash; the calls are
//! unsafe, and this is the only place for them.
#![expect(unsafe_code, reason = "Vulkan through ash: every handle lives as long as the struct that owns it")]

use std::ffi::CStr;

use ash::{ext, khr, vk};
use serde::Serialize;

use super::expand::Program;
use super::pipeline::{Access, accesses};
use super::translate::{Translation, Uses};

/// A device that the loader lists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IsaAdapter {
    /// Its place in the list.
    pub index: usize,
    /// The device's name.
    pub name: String,
    /// The driver's name and version.
    pub driver: String,
    /// Whether it has the extension, and Vulkan 1.3.
    pub able: bool,
}

/// A figure that a driver gives.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Statistic {
    /// A count.
    Whole(u64),
    /// Any other number.
    Number(f64),
}

/// A program as a driver compiled it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Compiled {
    /// Lanes of a subgroup.
    pub subgroup: u32,
    /// The driver's figures, by its own names, in its order.
    pub statistics: Vec<(String, Statistic)>,
    /// The driver's texts of it (such as its assembly), by their names.
    pub texts: Vec<(String, String)>,
}

/// A driver's compiler.
pub struct Compiler {
    /// What compiles.
    pub adapter: IsaAdapter,
    device: ash::Device,
    executables: khr::pipeline_executable_properties::Device,
    _instance: Loaded,
}

impl std::fmt::Debug for Compiler {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Compiler").field(&self.adapter).finish()
    }
}

/// The loader and an instance, which must outlive what comes from them.
struct Loaded {
    instance: ash::Instance,
    _entry: ash::Entry,
}

impl Drop for Loaded {
    fn drop(&mut self) {
        // SAFETY: devices are destroyed before (`Compiler::drop` runs before its fields' drops).
        unsafe { self.instance.destroy_instance(None) };
    }
}

impl Drop for Compiler {
    fn drop(&mut self) {
        // SAFETY: no object of the device outlives a call of `compile`.
        unsafe { self.device.destroy_device(None) };
    }
}

fn text(words: Result<&CStr, std::ffi::FromBytesUntilNulError>) -> String {
    words.map(|w| w.to_string_lossy().into_owned()).unwrap_or_default()
}

fn failed(what: &'static str) -> impl Fn(vk::Result) -> String {
    move |result| format!("Vulkan's {what} failed: {result:?}")
}

impl Loaded {
    fn new() -> Result<Self, String> {
        // SAFETY: loads the system's Vulkan loader, which is sound to initialise at any time.
        let entry = unsafe { ash::Entry::load() }.map_err(|e| {
            format!("no Vulkan loader: {e}; install libvulkan1 (or your system's 'vulkan-loader')")
        })?;
        let application = vk::ApplicationInfo::default().api_version(vk::API_VERSION_1_3);
        let info = vk::InstanceCreateInfo::default().application_info(&application);
        // SAFETY: `info` and what it points to live through the call.
        let instance = unsafe { entry.create_instance(&info, None) }.map_err(failed("vkCreateInstance"))?;
        Ok(Self { instance, _entry: entry })
    }

    fn physical(&self) -> Result<Vec<vk::PhysicalDevice>, String> {
        // SAFETY: the instance is alive.
        unsafe { self.instance.enumerate_physical_devices() }.map_err(failed("vkEnumeratePhysicalDevices"))
    }

    fn extensions(&self, device: vk::PhysicalDevice) -> Result<Vec<vk::ExtensionProperties>, String> {
        // SAFETY: `device` comes from this instance.
        unsafe { self.instance.enumerate_device_extension_properties(device) }
            .map_err(failed("vkEnumerateDeviceExtensionProperties"))
    }

    fn describe(&self, index: usize, device: vk::PhysicalDevice) -> Result<IsaAdapter, String> {
        let extensions = self.extensions(device)?;
        // SAFETY: `device` comes from this instance.
        let plain = unsafe { self.instance.get_physical_device_properties(device) };
        let mut driver = vk::PhysicalDeviceDriverProperties::default();
        if plain.api_version >= vk::API_VERSION_1_2 {
            let mut all = vk::PhysicalDeviceProperties2::default().push_next(&mut driver);
            // SAFETY: the chain holds structs of Vulkan 1.2, which the device has.
            unsafe { self.instance.get_physical_device_properties2(device, &mut all) };
        }
        let able = plain.api_version >= vk::API_VERSION_1_3
            && has(&extensions, khr::pipeline_executable_properties::NAME);
        Ok(IsaAdapter {
            index,
            name: text(plain.device_name_as_c_str()),
            driver: format!(
                "{} {}",
                text(driver.driver_name_as_c_str()),
                text(driver.driver_info_as_c_str())
            ),
            able,
        })
    }
}

fn has(extensions: &[vk::ExtensionProperties], name: &CStr) -> bool {
    extensions.iter().any(|e| e.extension_name_as_c_str() == Ok(name))
}

/// Every device that the loader lists, in its order.
///
/// # Errors
/// No loader, or a driver that fails.
pub fn isa_adapters() -> Result<Vec<IsaAdapter>, String> {
    let loaded = Loaded::new()?;
    loaded.physical()?.into_iter().enumerate().map(|(i, device)| loaded.describe(i, device)).collect()
}

impl Compiler {
    /// Opens the device of this place in [`isa_adapters`].
    ///
    /// # Errors
    /// No such device, or one without the extension; a driver that refuses.
    pub fn open(index: usize) -> Result<Self, String> {
        let instance = Loaded::new()?;
        let all = instance.physical()?;
        let &physical =
            all.get(index).ok_or_else(|| format!("no adapter {index}: the loader lists {}", all.len()))?;
        let adapter = instance.describe(index, physical)?;
        if !adapter.able {
            return Err(format!(
                "{} ({}) has no VK_KHR_pipeline_executable_properties, so its compiler tells nothing",
                adapter.name, adapter.driver
            ));
        }
        let robust = has(&instance.extensions(physical)?, ext::robustness2::NAME);
        let mut names = vec![khr::pipeline_executable_properties::NAME.as_ptr()];
        names.extend(robust.then_some(ext::robustness2::NAME.as_ptr()));
        let mut have = Features::default();
        let mut chain = have.chain(robust);
        // SAFETY: the chain holds structs of Vulkan 1.3 and of the extensions that the device has.
        unsafe { instance.instance.get_physical_device_features2(physical, &mut chain) };
        have.core = chain.features;
        let mut want = have.as_wgpu_asks();
        let queue = [vk::DeviceQueueCreateInfo::default().queue_family_index(0).queue_priorities(&[1.0])];
        let mut chain = want.chain(robust);
        let info = vk::DeviceCreateInfo::default()
            .queue_create_infos(&queue)
            .enabled_extension_names(&names)
            .push_next(&mut chain);
        // SAFETY: extensions and features are those that the device has.
        let device = unsafe { instance.instance.create_device(physical, &info, None) }
            .map_err(failed("vkCreateDevice"))?;
        let executables = khr::pipeline_executable_properties::Device::new(&instance.instance, &device);
        Ok(Self { adapter, device, executables, _instance: instance })
    }

    /// Compiles a program, given its expanded text.
    ///
    /// # Errors
    /// Text that naga refuses, or a driver that does.
    pub fn compile(&self, program: &Program, wgsl: &str, uses: Uses) -> Result<Compiled, String> {
        let spirv = Translation::new(wgsl, uses)?.spirv((1, 6))?;
        let bindings: Vec<vk::DescriptorSetLayoutBinding<'_>> = accesses(wgsl)
            .into_iter()
            .map(|(binding, access)| {
                vk::DescriptorSetLayoutBinding::default()
                    .binding(binding)
                    .descriptor_count(1)
                    .stage_flags(vk::ShaderStageFlags::COMPUTE)
                    .descriptor_type(match access {
                        Access::Uniform => vk::DescriptorType::UNIFORM_BUFFER,
                        Access::Read | Access::ReadWrite => vk::DescriptorType::STORAGE_BUFFER,
                    })
            })
            .collect();
        let mut made = Made::new(&self.device);
        made.build(&spirv, &bindings)
            .map_err(|e| format!("{} would not compile '{}': {e:?}", self.adapter.name, program.label()))?;
        self.read(made.pipeline)
    }

    fn read(&self, pipeline: vk::Pipeline) -> Result<Compiled, String> {
        let info = vk::PipelineInfoKHR::default().pipeline(pipeline);
        // SAFETY: the pipeline is alive and was created to be asked.
        let all = unsafe { self.executables.get_pipeline_executable_properties(&info) }
            .map_err(failed("vkGetPipelineExecutableProperties"))?;
        let first = all.first().ok_or("the driver lists no executable of the pipeline")?;
        let which = vk::PipelineExecutableInfoKHR::default().pipeline(pipeline).executable_index(0);
        // SAFETY: as above, and the first executable exists.
        let statistics = unsafe { self.executables.get_pipeline_executable_statistics(&which) }
            .map_err(failed("vkGetPipelineExecutableStatistics"))?;
        let statistics = statistics.iter().map(|s| (text(s.name_as_c_str()), value(s))).collect();
        Ok(Compiled { subgroup: first.subgroup_size, statistics, texts: self.texts(which)? })
    }

    /// Twice, as the extension wants it: sizes first, then what they are of.
    fn texts(&self, which: vk::PipelineExecutableInfoKHR<'_>) -> Result<Vec<(String, String)>, String> {
        let failed = failed("vkGetPipelineExecutableInternalRepresentations");
        // SAFETY: the pipeline is alive and was created to be asked.
        let mut found = unsafe { self.executables.get_pipeline_executable_internal_representations(&which) }
            .map_err(&failed)?;
        let mut data: Vec<Vec<u8>> = found.iter().map(|one| vec![0; one.data_size]).collect();
        for (one, bytes) in found.iter_mut().zip(&mut data) {
            one.p_data = bytes.as_mut_ptr().cast();
        }
        let mut count = found.len() as u32;
        let get = self.executables.fp().get_pipeline_executable_internal_representations_khr;
        // SAFETY: the array holds `count`, and each pointer has room for the size that the driver gave.
        unsafe { get(self.executables.device(), &which, &mut count, found.as_mut_ptr()) }
            .result()
            .map_err(&failed)?;
        let named = found.iter().map(|one| (text(one.name_as_c_str()), one.is_text == vk::TRUE));
        let string = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).trim_end_matches('\0').to_string();
        let texts = named.zip(data).filter(|((_, is_text), _)| *is_text);
        Ok(texts.map(|((name, _), bytes)| (name, string(bytes))).collect())
    }
}

fn value(s: &vk::PipelineExecutableStatisticKHR<'_>) -> Statistic {
    // SAFETY: `format` says which field of the union the driver wrote.
    unsafe {
        match s.format {
            vk::PipelineExecutableStatisticFormatKHR::BOOL32 => Statistic::Whole(s.value.b32.into()),
            vk::PipelineExecutableStatisticFormatKHR::INT64 if s.value.i64 < 0 => {
                Statistic::Number(s.value.i64 as f64)
            }
            vk::PipelineExecutableStatisticFormatKHR::FLOAT64 => Statistic::Number(s.value.f64),
            _ => Statistic::Whole(s.value.u64),
        }
    }
}

/// The features that bear on compute shaders.
#[derive(Default)]
struct Features {
    core: vk::PhysicalDeviceFeatures,
    v11: vk::PhysicalDeviceVulkan11Features<'static>,
    v12: vk::PhysicalDeviceVulkan12Features<'static>,
    v13: vk::PhysicalDeviceVulkan13Features<'static>,
    robust: vk::PhysicalDeviceRobustness2FeaturesEXT<'static>,
    executables: vk::PhysicalDevicePipelineExecutablePropertiesFeaturesKHR<'static>,
}

impl Features {
    /// One chain of them all; `robust` with the extension's.
    fn chain(&mut self, robust: bool) -> vk::PhysicalDeviceFeatures2<'_> {
        let chain = vk::PhysicalDeviceFeatures2::default()
            .features(self.core)
            .push_next(&mut self.v11)
            .push_next(&mut self.v12)
            .push_next(&mut self.v13)
            .push_next(&mut self.executables);
        if robust { chain.push_next(&mut self.robust) } else { chain }
    }

    /// Of those that there are, what wgpu turns on for our shaders.
    fn as_wgpu_asks(&self) -> Self {
        let on = |flag: vk::Bool32| flag == vk::TRUE;
        Self {
            core: vk::PhysicalDeviceFeatures::default()
                .robust_buffer_access(on(self.core.robust_buffer_access)),
            v11: vk::PhysicalDeviceVulkan11Features::default()
                .storage_buffer16_bit_access(on(self.v11.storage_buffer16_bit_access))
                .uniform_and_storage_buffer16_bit_access(on(self
                    .v11
                    .uniform_and_storage_buffer16_bit_access)),
            v12: vk::PhysicalDeviceVulkan12Features::default()
                .shader_float16(on(self.v12.shader_float16))
                .shader_int8(on(self.v12.shader_int8)),
            v13: vk::PhysicalDeviceVulkan13Features::default()
                .subgroup_size_control(on(self.v13.subgroup_size_control))
                .robust_image_access(on(self.v13.robust_image_access))
                .shader_zero_initialize_workgroup_memory(on(self
                    .v13
                    .shader_zero_initialize_workgroup_memory)),
            robust: vk::PhysicalDeviceRobustness2FeaturesEXT::default()
                .robust_buffer_access2(on(self.robust.robust_buffer_access2))
                .robust_image_access2(on(self.robust.robust_image_access2)),
            executables: vk::PhysicalDevicePipelineExecutablePropertiesFeaturesKHR::default()
                .pipeline_executable_info(true),
        }
    }
}

/// The objects of one compilation, destroyed with it. Null ones are ignored by Vulkan.
struct Made<'a> {
    device: &'a ash::Device,
    module: vk::ShaderModule,
    set: vk::DescriptorSetLayout,
    layout: vk::PipelineLayout,
    pipeline: vk::Pipeline,
}

impl<'a> Made<'a> {
    fn new(device: &'a ash::Device) -> Self {
        Self {
            device,
            module: vk::ShaderModule::null(),
            set: vk::DescriptorSetLayout::null(),
            layout: vk::PipelineLayout::null(),
            pipeline: vk::Pipeline::null(),
        }
    }

    fn build(
        &mut self,
        spirv: &[u32],
        bindings: &[vk::DescriptorSetLayoutBinding<'_>],
    ) -> Result<(), vk::Result> {
        let module = vk::ShaderModuleCreateInfo::default().code(spirv);
        let set = vk::DescriptorSetLayoutCreateInfo::default().bindings(bindings);
        // SAFETY: naga validated and wrote the module; the structs live through the calls.
        unsafe {
            self.module = self.device.create_shader_module(&module, None)?;
            self.set = self.device.create_descriptor_set_layout(&set, None)?;
            let sets = [self.set];
            let layout = vk::PipelineLayoutCreateInfo::default().set_layouts(&sets);
            self.layout = self.device.create_pipeline_layout(&layout, None)?;
        }
        // wgpu lets the driver choose the size wherever the device has subgroups, used or not.
        let stage = vk::PipelineShaderStageCreateInfo::default()
            .flags(vk::PipelineShaderStageCreateFlags::ALLOW_VARYING_SUBGROUP_SIZE)
            .stage(vk::ShaderStageFlags::COMPUTE)
            .module(self.module)
            .name(c"main");
        let capture = vk::PipelineCreateFlags::CAPTURE_STATISTICS_KHR
            | vk::PipelineCreateFlags::CAPTURE_INTERNAL_REPRESENTATIONS_KHR;
        let info = vk::ComputePipelineCreateInfo::default().flags(capture).stage(stage).layout(self.layout);
        // SAFETY: module and layout are alive, and the layout has every binding of the module.
        let made = unsafe { self.device.create_compute_pipelines(vk::PipelineCache::null(), &[info], None) };
        self.pipeline = made.map_err(|(_, result)| result)?.first().copied().unwrap_or_default();
        Ok(())
    }
}

impl Drop for Made<'_> {
    fn drop(&mut self) {
        // SAFETY: these came from this device, nothing runs on it, and null handles are allowed.
        unsafe {
            self.device.destroy_pipeline(self.pipeline, None);
            self.device.destroy_pipeline_layout(self.layout, None);
            self.device.destroy_descriptor_set_layout(self.set, None);
            self.device.destroy_shader_module(self.module, None);
        }
    }
}
