// SPDX-License-Identifier: Apache-2.0
// Exit statuses of the guillotine tools (docs/exit-codes.md). A model reaches 0 to 63 only.
#ifndef BASE_EXIT_STATUS_H
#define BASE_EXIT_STATUS_H

enum exit_status {
    EXIT_STATUS_OK = 0,
    EXIT_STATUS_FAILURE = 1,       // a command other than `run` failed
    EXIT_STATUS_MODEL_MAX = 63,    // the model's own statuses end here
    EXIT_STATUS_USAGE = 64,        // bad command line
    EXIT_STATUS_BAD_FILE = 65,     // VM file, image or weights refused
    EXIT_STATUS_NO_KVM = 69,       // /dev/kvm missing, unreadable or unusable
    EXIT_STATUS_INTERNAL = 70,     // a defect or an unexpected system error
    EXIT_STATUS_RESOURCES = 75,    // not enough memory, cores or descriptors
    EXIT_STATUS_HOST_REFUSED = 77, // --require was not met
    EXIT_STATUS_VIOLATION = 80,    // the model broke containment rules and was stopped
    EXIT_STATUS_ISOLATED = 81,     // the run ended because the level rose
    EXIT_STATUS_SIGNAL_BASE = 128, // 128 + n: stopped by signal n
};

#endif
