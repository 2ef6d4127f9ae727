package iotd;

import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.net.InetSocketAddress;
import java.nio.charset.StandardCharsets;
import java.util.concurrent.Executors;

/** Answers /image with the picture of the day as JSON. The picture is one of ours, so that it works without the internet. */
public final class Service {
    private static final String IMAGE =
        "{\"url\":\"data:image/svg+xml;base64,PHN2ZyB4bWxucz0iaHR0cDovL3d3dy53My5vcmcvMjAwMC9zdmciIHZpZXdCb3g9IjAgMCA2NCA0MCI+PHJlY3Qgd2lkdGg9IjY0IiBoZWlnaHQ9IjQwIiBmaWxsPSIjMDIxMDJhIi8+PGNpcmNsZSBjeD0iNDYiIGN5PSIxMiIgcj0iNiIgZmlsbD0iI2ZmZDk4YSIvPjxwYXRoIGQ9Ik00IDMyaDU2bC02IDZIMTB6IiBmaWxsPSIjYzRjOGQwIi8+PC9zdmc+\","
            + "\"caption\":\"A ship under its star\",\"copyright\":\"Shipway\"}";

    private Service() {}

    public static void main(String[] args) throws IOException {
        int port = Integer.parseInt(System.getenv().getOrDefault("PORT", "80"));
        HttpServer server = HttpServer.create(new InetSocketAddress(port), 0);
        server.createContext("/image", exchange -> answer(exchange, 200, IMAGE));
        server.createContext("/", exchange -> answer(exchange, 404, "{\"error\":\"ask for /image\"}"));
        server.setExecutor(Executors.newFixedThreadPool(2));
        Runtime.getRuntime().addShutdownHook(new Thread(() -> server.stop(0)));
        server.start();
        System.out.println("iotd: listening on port " + port);
    }

    private static void answer(HttpExchange exchange, int status, String body) throws IOException {
        byte[] bytes = body.getBytes(StandardCharsets.UTF_8);
        exchange.getResponseHeaders().set("Content-Type", "application/json");
        exchange.sendResponseHeaders(status, bytes.length);
        try (var out = exchange.getResponseBody()) {
            out.write(bytes);
        }
    }
}
