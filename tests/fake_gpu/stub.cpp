// What a build of PyTorch without CUDA and MPS lacks so that tensors whose device is "cuda:0" or
// "mps:0" may take part in autograd: a device guard, and hooks by which ATen believes that there is
// such a device. None of them does anything. The registry finds the hooks by the name of their class.
// A process has one kind of GPU: that of Apple if the environment variable FAKE_GPU_KIND is "mps".
#include <ATen/detail/CUDAHooksInterface.h>
#include <ATen/detail/MPSHooksInterface.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>

#include <cstdlib>
#include <string>

namespace {

using c10::Device;
using c10::DeviceType;
using c10::Stream;

bool apple() {
  const char* kind = std::getenv("FAKE_GPU_KIND");
  return kind != nullptr && std::string(kind) == "mps";
}

template <DeviceType D>
struct Guard final : c10::impl::NoOpDeviceGuardImpl<D> {
  Device only() const { return Device(D, 0); }
  Device exchangeDevice(Device) const override { return only(); }
  Device getDevice() const override { return only(); }
  Stream getStream(Device) const noexcept override { return Stream(Stream::DEFAULT, only()); }
  Stream exchangeStream(Stream) const noexcept override { return getStream(only()); }
  void record(void**, const Stream&, const c10::DeviceIndex, const c10::EventFlag) const override {}
  void block(void*, const Stream&) const override {}
  bool queryEvent(void*) const override { return true; }
  bool queryStream(const Stream&) const override { return true; }
  void synchronizeStream(const Stream&) const override {}
  void synchronizeEvent(void*) const override {}
};

struct CUDAHooks : at::CUDAHooksInterface {
  explicit CUDAHooks(at::CUDAHooksArgs) {}
  void init() const override {}
  bool hasCUDA() const override { return !apple(); }
  bool isBuilt() const override { return !apple(); }
  bool isAvailable() const override { return !apple(); }
  bool hasPrimaryContext(c10::DeviceIndex) const override { return false; }
};

struct MPSHooks : at::MPSHooksInterface {
  template <class... Args>  // MPSHooksArgs, or nothing in newer versions
  explicit MPSHooks(Args...) {}
  void init() const override {}
  bool hasMPS() const override { return apple(); }
  bool isBuilt() const override { return apple(); }
  bool isAvailable() const override { return apple(); }
  bool hasPrimaryContext(c10::DeviceIndex) const override { return false; }
};

C10_REGISTER_GUARD_IMPL(CUDA, Guard<DeviceType::CUDA>)
C10_REGISTER_GUARD_IMPL(MPS, Guard<DeviceType::MPS>)

}  // namespace

namespace at {
REGISTER_CUDA_HOOKS(CUDAHooks)
REGISTER_MPS_HOOKS(MPSHooks)
}
