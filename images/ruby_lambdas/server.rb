# Evaluates Ruby lambdas, one after the other, each in a process of its own.
#
# This is the init process of a container without files, network or rights. It reads requests from
# standard input and writes answers to standard output. The other side is
# runner/colour/ruby_container.py, which sends a request only after the answer to the one before.
#
#   request  four numbers of 32 bits, big-endian: the bytes of the source, of stdout and of
#            stderr, and the status; then those bytes
#   answer   two numbers of 32 bits, big-endian: a kind (READY once, at the start; COLOUR; FAULTY)
#            and the bytes of a text; then that text
#
# Each evaluation gets a copy of this process's memory, so this process never reads a kata's output:
# it reads the numbers of a request, and the child that it forks reads the rest.

require "fiddle"
require "rbconfig"

# A module keeps our names, all but its own, out of the scope in which lambdas are evaluated.
module LambdaServer
  MAX_SECONDS = 3             # of time, for a lambda that sleeps
  MAX_PROCESSOR_SECONDS = 1   # for a lambda that computes
  MAX_MEMORY = 64 * 1024**2   # besides that of this process
  MAX_ANSWER = 1000

  READY, COLOUR, FAULTY = 0, 1, 2
  HEADER = 16
  HAS_READ = 1.chr            # a child's first byte: it has read the whole request
  COLOURS = %w[red amber green]

  LIBC = Fiddle.dlopen(nil)
  INT, LONG, POINTER = Fiddle::TYPE_INT, Fiddle::TYPE_LONG, Fiddle::TYPE_VOIDP
  PRCTL = Fiddle::Function.new(LIBC["prctl"], [INT, LONG, POINTER, LONG, LONG], INT)
  SIGNAL = Fiddle::Function.new(LIBC["signal"], [INT, POINTER], POINTER)
  PR_SET_DUMPABLE, PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS = 4, 22, 38
  SECCOMP_MODE_FILTER = 2

  # The system calls that a lambda may make: to use its memory, wait, write to its open pipe, and
  # end. Any other call kills it. The numbers are those of the kernel's asm/unistd.h.
  #
  #   read write writev close poll ppoll select pselect6
  #   mmap mprotect munmap brk mremap madvise futex sched_yield
  #   rt_sigaction rt_sigprocmask rt_sigreturn sigaltstack restart_syscall
  #   nanosleep clock_nanosleep clock_gettime clock_getres gettimeofday times getrusage
  #   timer_create timer_settime timer_delete
  #   getpid getppid gettid getuid geteuid getgid getegid getrandom exit exit_group uname
  ALLOWED = {
    "x86_64" => [0xC000003E, [
      0, 1, 20, 3, 7, 271, 23, 270,
      9, 10, 11, 12, 25, 28, 202, 24,
      13, 14, 15, 131, 219,
      35, 230, 228, 229, 96, 100, 98,
      222, 223, 226,
      39, 110, 186, 102, 107, 104, 108, 318, 60, 231, 63
    ]],
    "aarch64" => [0xC00000B7, [
      63, 64, 66, 57, 73, 72,
      222, 226, 215, 214, 216, 233, 98, 124,
      134, 135, 139, 132, 128,
      101, 115, 113, 114, 169, 153, 165,
      107, 110, 111,
      172, 173, 178, 174, 175, 176, 177, 278, 93, 94, 160
    ]]
  }

  module_function

  def machine = RbConfig::CONFIG["host_cpu"]

  # Returns the filter as a struct sock_fprog for prctl(2). It points to @filter_code, which
  # therefore must not be garbage-collected.
  def filter_of(architecture, numbers)
    kill, allow = 0x80000000, 0x7FFF0000
    load, equal, answer = 0x20, 0x15, 0x06
    code = [[load, 0, 0, 4], [equal, 1, 0, architecture], [answer, 0, 0, kill], [load, 0, 0, 0]]
    numbers.each_with_index { |number, place| code << [equal, numbers.size - place, 0, number] }
    code << [answer, 0, 0, kill] << [answer, 0, 0, allow]
    @filter_code = code.map { |each| each.pack("SCCL") }.join
    [code.size, Fiddle::Pointer[@filter_code].to_i].pack("Sx6Q")
  end

  # Loads the libraries that Ruby loads on first use: a lambda can't open their files.
  def load_ahead
    %w[json set date time strscan stringio timeout].each { |name| require name }
    Encoding.list.each { |each| "a".encode(each) rescue nil }
    Encoding.list.each { |each| "a".dup.force_encoding(each).encode("UTF-8") rescue nil }
    /\p{Alpha}(?i:ä)/.match("Ä")
    "ä".unicode_normalize(:nfd)
    Time.parse("2020-01-01").localtime
    RuntimeError.new("a").full_message(highlight: false)
  end

  def memory = File.read("/proc/self/statm").to_i * 4096

  def limit(resource, most) = Process.setrlimit(resource, most, most)

  # In the child: gives up everything except memory and the pipe for its answer.
  def confine(nothing)
    [STDIN, STDOUT, STDERR].each { |each| each.reopen(nothing) }
    nothing.close
    limit(Process::RLIMIT_AS, @memory + MAX_MEMORY)
    limit(Process::RLIMIT_CPU, MAX_PROCESSOR_SECONDS)
    limit(Process::RLIMIT_NPROC, 0)
    # Not 0: to wait, Ruby polls one descriptor, and the kernel polls no more than a process may have.
    # The one that this allows, 0, is taken.
    limit(Process::RLIMIT_NOFILE, 1)
    limit(Process::RLIMIT_FSIZE, 0)
    return if PRCTL.call(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, @filter, 0, 0).zero?
    raise "the kernel takes no filter of system calls: errno #{Fiddle.last_error}"
  end

  def text(bytes) = bytes.dup.force_encoding("UTF-8")

  def colour_of(source, stdout, stderr, status)
    rule = TOPLEVEL_BINDING.dup.eval(source, "red_amber_green.rb", 1)
    return [FAULTY, "it is no lambda but #{rule.class}"] unless rule.respond_to?(:call)
    case rule.arity
    when 1 then found = rule.call(stdout + stderr)
    when 3, -1 then found = rule.call(stdout, stderr, status)
    else return [FAULTY, "it takes #{rule.arity} arguments, and not output, or stdout, stderr and status"]
    end
    is_colour = (found.is_a?(Symbol) || found.is_a?(String)) && COLOURS.include?(found.to_s)
    is_colour ? [COLOUR, found.to_s] : [FAULTY, "it answered #{found.inspect[0, 100]}, which is no colour"]
  rescue SystemExit
    [FAULTY, "it exited"]
  rescue NoMemoryError
    [FAULTY, "it took more memory than it may"]
  rescue Exception => error
    [FAULTY, "it raised #{error.class}: #{error.message[0, 300]}"]
  end

  # In the child: reads the rest of the request, evaluates the lambda, answers, and ends.
  def evaluate(header, answer)
    source_bytes, stdout_bytes, stderr_bytes, status = header.unpack("N4")
    source, stdout, stderr = [source_bytes, stdout_bytes, stderr_bytes].map { |size| text(STDIN.read(size) || "") }
    answer.syswrite(HAS_READ)
    confine(File.open("/dev/null", "r+"))
    kind, said = colour_of(source, stdout, stderr, status)
    answer.syswrite([kind].pack("C") + said.b[0, MAX_ANSWER - 2])
  ensure
    exit!(0)
  end

  # Reads the child's answer into `said`, to its end; returns whether the end came in time.
  def follow(from, said)
    deadline = Process.clock_gettime(Process::CLOCK_MONOTONIC) + MAX_SECONDS
    piece = String.new(capacity: MAX_ANSWER)
    loop do
      left = deadline - Process.clock_gettime(Process::CLOCK_MONOTONIC)
      return false if left <= 0 || !IO.select([from], nil, nil, left)
      return true if from.read_nonblock(MAX_ANSWER, piece, exception: false).nil?
      said << piece
      forget(piece)
      return true if said.bytesize > MAX_ANSWER
    end
  end

  # Overwrites bytes: the next kata's child gets a copy of this process's memory.
  def forget(bytes) = bytes.bytesize.times { |place| bytes.setbyte(place, 0) }

  def why(status, in_time)
    return "it took longer than #{MAX_SECONDS} s" unless in_time
    case status.termsig
    when nil then "it ended without an answer"
    when Signal.list["SYS"] then "it tried what a rule may not: it has no files, no network, no processes"
    when Signal.list["KILL"], Signal.list["XCPU"] then "it took longer than #{MAX_PROCESSOR_SECONDS} s of the processor"
    else "signal #{status.termsig} ended it"
    end
  end

  def send_answer(kind, said)
    STDOUT.syswrite([kind, said.bytesize].pack("NN") + said)
  end

  def answer_one(header, said)
    from, to = IO.pipe(binmode: true)
    child = fork do
      from.close
      evaluate(header, to)
    end
    to.close
    in_time = follow(from, said)
    from.close
    Process.kill(:KILL, child)
    _, status = Process.wait2(child)
    # If the child did not read the whole request, its rest would be read as the next request.
    exit!(1) unless said.getbyte(0) == HAS_READ.ord
    if in_time && said.bytesize > 1
      kind = said.getbyte(1) == COLOUR ? COLOUR : FAULTY
      said[0, 2] = [kind, said.bytesize - 2].pack("NN") # in place: a copy could not be overwritten
      STDOUT.syswrite(said)
    else
      send_answer(FAULTY, why(status, in_time))
    end
    forget(said)
    said.clear
  end

  def serve
    # The kernel ignores signals to an init process from inside its container, unless it handles
    # them. So this removes Ruby's handlers, except the one that Ruby needs to wait for a child.
    (1..64).each { |number| SIGNAL.call(number, nil) unless number == Signal.list["CHLD"] }
    # Keeps processes of the same user from reading this one's memory, and from using its open files.
    PRCTL.call(PR_SET_DUMPABLE, 0, nil, 0, 0)
    PRCTL.call(PR_SET_NO_NEW_PRIVS, 1, nil, 0, 0)
    load_ahead
    architecture, numbers = ALLOWED.fetch(machine) { abort "no filter of system calls for #{machine}" }
    @filter = filter_of(architecture, numbers)
    @memory = memory
    [STDIN, STDOUT].each(&:binmode)
    said = String.new(capacity: 2 * MAX_ANSWER, encoding: "BINARY")
    header = String.new(capacity: HEADER, encoding: "BINARY")
    GC.start
    send_answer(READY, "")
    loop do
      header.clear
      header << STDIN.sysread(HEADER - header.bytesize) while header.bytesize < HEADER
      answer_one(header, said)
    end
  rescue EOFError, Errno::EPIPE
    exit!(0) # the runner has gone
  end
end

LambdaServer.serve
