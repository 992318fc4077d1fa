import java.nio.MappedByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.Random;

/** Times Java's mapped buffers: FILE BURSTS SEED SIZE, where each burst is PAGES:FLUSHES. */
public final class ForceTimes {
    private static final int PAGE = 4096;

    public static void main(String[] arguments) throws Exception {
        Path path = Path.of(arguments[0]);
        Random chance = new Random(Long.parseLong(arguments[2]));
        StringBuilder told = new StringBuilder();
        long begin = System.nanoTime();
        try (FileChannel channel = FileChannel.open(path, StandardOpenOption.READ, StandardOpenOption.WRITE)) {
            MappedByteBuffer buffer = channel.map(FileChannel.MapMode.READ_WRITE, 0, channel.size());
            int sum = 0;
            for (int at = 0; at < buffer.capacity(); at += PAGE) {
                sum += buffer.get(at);
            }
            told.append("open ").append(System.nanoTime() - begin).append('\n');
            for (String burst : arguments[1].split(",")) {
                int pages = Integer.parseInt(burst.split(":")[0]);
                int flushes = Integer.parseInt(burst.split(":")[1]);
                for (int flush = 0; flush < flushes; flush++) {
                    int[] places = chance.ints(0, buffer.capacity() / PAGE).distinct().limit(pages).toArray();
                    long word = chance.nextLong() + sum;
                    long start = System.nanoTime();
                    for (int place : places) {
                        buffer.putLong(PAGE * place, word);
                    }
                    long between = System.nanoTime();
                    buffer.force();
                    long end = System.nanoTime();
                    told.append(pages).append(' ').append(between - start).append(' ').append(end - between).append('\n');
                }
            }
        }
        System.out.print(told);
    }
}
