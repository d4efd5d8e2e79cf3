# What the makefiles of CppUTest's katas include. CppUTest once came with a file of this name;
# Debian leaves it out, and this one does what those makefiles ask for: it compiles and links
# what they list, runs the tests, and has new and malloc looked after for leaks.

SILENCE ?= @
PROJECT_HOME_DIR ?= .
CPPUTEST_OBJS_DIR ?= objs
CPPUTEST_WARNINGFLAGS ?= -Wall -Werror -Wswitch-default

TEST_TARGET = $(COMPONENT_NAME)_tests
SOURCES = $(SRC_FILES) $(TEST_SRC_FILES) $(MOCKS_SRC_FILES) \
    $(foreach folder,$(SRC_DIRS) $(TEST_SRC_DIRS) $(MOCKS_SRC_DIRS),\
        $(wildcard $(folder)/*.c $(folder)/*.cc $(folder)/*.cpp))
OBJECTS = $(addprefix $(CPPUTEST_OBJS_DIR)/,$(addsuffix .o,$(basename $(SOURCES))))

# C code that has new in it is rare, and code that names malloc is C: each has its own macros.
LEAKS_CXX = -include CppUTest/MemoryLeakDetectorNewMacros.h
LEAKS_C = -include CppUTest/MemoryLeakDetectorMallocMacros.h
ifeq ($(CPPUTEST_USE_MEM_LEAK_DETECTION),N)
    LEAKS_CXX =
    LEAKS_C =
endif

FLAGS = $(addprefix -I,$(INCLUDE_DIRS)) $(CPPUTEST_CPPFLAGS) $(CPPFLAGS) $(CPPUTEST_WARNINGFLAGS) -MMD -MP
LIBRARIES = $(LD_LIBRARIES) -lCppUTestExt -lCppUTest

.PHONY: all start clean
all: start $(TEST_TARGET)
	$(SILENCE)echo Running $(TEST_TARGET)
	$(SILENCE)./$(TEST_TARGET) $(CPPUTEST_EXE_FLAGS)

# Tests that were built from what is gone would be run again.
start:
	$(SILENCE)rm -f $(TEST_TARGET)

$(TEST_TARGET): start $(OBJECTS)
	$(SILENCE)echo Linking $@
	$(SILENCE)$(CXX) -o $@ $(OBJECTS) $(LDFLAGS) $(CPPUTEST_LDFLAGS) $(LIBRARIES)

$(CPPUTEST_OBJS_DIR)/%.o: %.c
	$(SILENCE)mkdir -p $(@D)
	$(SILENCE)echo compiling $(<F)
	$(SILENCE)$(CC) $(FLAGS) $(CPPUTEST_CFLAGS) $(CFLAGS) $(LEAKS_C) -c -o $@ $<

$(CPPUTEST_OBJS_DIR)/%.o: %.cpp
	$(SILENCE)mkdir -p $(@D)
	$(SILENCE)echo compiling $(<F)
	$(SILENCE)$(CXX) $(FLAGS) $(CPPUTEST_CXXFLAGS) $(CXXFLAGS) $(LEAKS_CXX) $(LEAKS_C) -c -o $@ $<

$(CPPUTEST_OBJS_DIR)/%.o: %.cc
	$(SILENCE)mkdir -p $(@D)
	$(SILENCE)echo compiling $(<F)
	$(SILENCE)$(CXX) $(FLAGS) $(CPPUTEST_CXXFLAGS) $(CXXFLAGS) $(LEAKS_CXX) $(LEAKS_C) -c -o $@ $<

clean:
	$(SILENCE)rm -rf $(CPPUTEST_OBJS_DIR) $(TEST_TARGET)

-include $(OBJECTS:.o=.d)
