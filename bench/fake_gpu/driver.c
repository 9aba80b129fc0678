// What PyTorch asks CUDA for before it computes: one device, with streams and events that have nothing to wait for.
// Whatever is not here comes from CUDA's own library, and fails, since there is no driver.
#include <driver_types.h>
#include <stddef.h>
#include <string.h>

enum { SUCCESS = cudaSuccess, NOT_SUPPORTED = cudaErrorNotSupported };

int cudaGetDeviceCount(int *count) { *count = 1; return SUCCESS; }
int cudaGetDevice(int *device) { *device = 0; return SUCCESS; }
int cudaSetDevice(int device) { return device == 0 ? SUCCESS : NOT_SUPPORTED; }
int cudaGetDeviceProperties(struct cudaDeviceProp *of, int device) {
    memset(of, 0, sizeof *of);
    of->major = 9, of->minor = 0, of->multiProcessorCount = 132, of->warpSize = 32;
    of->maxThreadsPerBlock = 1024, of->sharedMemPerBlockOptin = 227 << 10;
    return SUCCESS;
}
int cudaDeviceGetStreamPriorityRange(int *lowest, int *highest) { *lowest = 0; *highest = -1; return SUCCESS; }

static void *new_handle(void) { static char *last = NULL; return ++last; }
int cudaStreamCreateWithPriority(void **stream, unsigned flags, int priority) { *stream = new_handle(); return SUCCESS; }
int cudaStreamIsCapturing(void *stream, int *status) { *status = 0; return SUCCESS; }
int cudaStreamWaitEvent(void *stream, void *event, unsigned flags) { return SUCCESS; }
int cudaStreamQuery(void *stream) { return SUCCESS; }
int cudaStreamSynchronize(void *stream) { return SUCCESS; }
int cudaEventCreateWithFlags(void **event, unsigned flags) { *event = new_handle(); return SUCCESS; }
int cudaEventRecord(void *event, void *stream) { return SUCCESS; }
int cudaEventRecordWithFlags(void *event, void *stream, unsigned flags) { return SUCCESS; }
int cudaEventQuery(void *event) { return SUCCESS; }
int cudaEventSynchronize(void *event) { return SUCCESS; }
int cudaEventDestroy(void *event) { return SUCCESS; }

// PyTorch's door to the driver links to all of these, and calls the first one
int cuDevicePrimaryCtxGetState(int device, unsigned *flags, int *active) { *flags = 0; *active = 1; return SUCCESS; }
#define MISSING(name) int name(void) { return NOT_SUPPORTED; }
MISSING(cuCtxGetCurrent) MISSING(cuCtxSetCurrent) MISSING(cuDeviceGet) MISSING(cuDeviceGetAttribute)
MISSING(cuDevicePrimaryCtxRetain) MISSING(cuFuncGetAttribute) MISSING(cuFuncSetAttribute)
MISSING(cuFuncSetCacheConfig) MISSING(cuGetErrorString) MISSING(cuLaunchCooperativeKernel) MISSING(cuLaunchKernel)
MISSING(cuLinkAddData_v2) MISSING(cuLinkComplete) MISSING(cuLinkCreate_v2) MISSING(cuModuleGetFunction)
MISSING(cuModuleLoad) MISSING(cuModuleLoadData) MISSING(cuModuleLoadDataEx) MISSING(cuModuleUnload)
MISSING(cuOccupancyMaxActiveBlocksPerMultiprocessor) MISSING(cuPointerGetAttribute) MISSING(cuTensorMapEncodeTiled)
