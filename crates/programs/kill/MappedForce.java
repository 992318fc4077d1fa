import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.MappedByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;

/** Java's mapped buffers: FILE SEED VERSIONS. What a version changes is said in scatter.py. */
public final class MappedForce {
    private static final int RECORDS = 512;
    private static final int RECORD_WORDS_MAX = 256;

    private static long mix(long x) {
        x += 0x9E3779B97F4A7C15L;
        x = (x ^ (x >>> 30)) * 0xBF58476D1CE4E5B9L;
        x = (x ^ (x >>> 27)) * 0x94D049BB133111EBL;
        return x ^ (x >>> 31);
    }

    public static void main(String[] arguments) throws Exception {
        Path path = Path.of(arguments[0]);
        long seed = Long.parseUnsignedLong(arguments[1]);
        int versions = Integer.parseInt(arguments[2]);
        try (FileChannel channel = FileChannel.open(path, StandardOpenOption.READ, StandardOpenOption.WRITE)) {
            MappedByteBuffer buffer = channel.map(FileChannel.MapMode.READ_WRITE, 0, channel.size());
            say("ready");
            for (int version = 1; version <= versions; version++) {
                long begin = mix(seed ^ mix(version));
                for (int number = 0; number < RECORDS; number++) {
                    long size = mix(begin + number);
                    int words = 1 + (int) Long.remainderUnsigned(size, RECORD_WORDS_MAX);
                    long place = mix(size);
                    int at = (int) Long.remainderUnsigned(place, buffer.capacity() - 8L * words + 1);
                    ByteBuffer record = ByteBuffer.allocate(8 * words).order(ByteOrder.LITTLE_ENDIAN);
                    while (record.hasRemaining()) {
                        record.putLong(mix(place));
                    }
                    buffer.put(at, record.array());
                }
                buffer.force();
                say(Integer.toString(version));
            }
        }
    }

    private static void say(String line) {
        System.out.println(line);
        System.out.flush();
    }
}
