import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.net.InetSocketAddress;
import java.nio.charset.StandardCharsets;
import java.util.concurrent.Executors;

/** The JDK's own server on a pool of threads: what HOST:PORT THREADS say, twelve bytes, at once or after SLEEP seconds. */
public final class Text {
    private static final byte[] CONTENT = "hello world!".getBytes(StandardCharsets.UTF_8);

    public static void main(String[] arguments) throws IOException {
        String[] address = arguments[0].split(":");
        double wait = Double.parseDouble(System.getenv().getOrDefault("SLEEP", "0"));
        long milliseconds = Math.round(wait * 1000);
        HttpServer server = HttpServer.create(new InetSocketAddress(address[0], Integer.parseInt(address[1])), 2048);
        server.setExecutor(Executors.newFixedThreadPool(Integer.parseInt(arguments[1])));
        server.createContext("/", exchange -> {
            try (exchange) {
                Thread.sleep(milliseconds);
                exchange.getResponseHeaders().set("Content-Type", "text/plain; charset=utf-8");
                exchange.sendResponseHeaders(200, CONTENT.length);
                exchange.getResponseBody().write(CONTENT);
            } catch (InterruptedException interrupted) {
                Thread.currentThread().interrupt();
            }
        });
        server.start();
    }
}
