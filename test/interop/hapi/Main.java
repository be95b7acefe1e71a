/* Main.java -- a HAPI FHIR JPA server, R4, as HAPI's own starter project configures one.
 *
 * Arguments: PORT DATA. Listens on 127.0.0.1 at /fhir; an H2 database in the folder DATA. Prints "ready URL" when it
 * answers. Settings are HAPI's defaults (referential integrity on, client ids need a letter, updates create); full-text
 * search, which needs Lucene or Elasticsearch, is off, and so is $lastn with it.
 */
import ca.uhn.fhir.batch2.jobs.config.Batch2JobsConfig;
import ca.uhn.fhir.context.FhirContext;
import ca.uhn.fhir.context.support.IValidationSupport;
import ca.uhn.fhir.jpa.api.config.JpaStorageSettings;
import ca.uhn.fhir.jpa.api.config.ThreadPoolFactoryConfig;
import ca.uhn.fhir.jpa.api.dao.DaoRegistry;
import ca.uhn.fhir.jpa.api.dao.IFhirSystemDao;
import ca.uhn.fhir.jpa.batch2.JpaBatch2Config;
import ca.uhn.fhir.jpa.binary.api.IBinaryStorageSvc;
import ca.uhn.fhir.jpa.binstore.DatabaseBinaryContentStorageSvcImpl;
import ca.uhn.fhir.jpa.config.HapiJpaConfig;
import ca.uhn.fhir.jpa.config.r4.JpaR4Config;
import ca.uhn.fhir.jpa.config.util.HapiEntityManagerFactoryUtil;
import ca.uhn.fhir.jpa.model.config.PartitionSettings;
import ca.uhn.fhir.jpa.model.config.SubscriptionSettings;
import ca.uhn.fhir.jpa.model.dialect.HapiFhirH2Dialect;
import ca.uhn.fhir.jpa.provider.JpaCapabilityStatementProvider;
import ca.uhn.fhir.jpa.provider.JpaSystemProvider;
import ca.uhn.fhir.jpa.search.DatabaseBackedPagingProvider;
import ca.uhn.fhir.jpa.searchparam.submit.config.SearchParamSubmitterConfig;
import ca.uhn.fhir.jpa.subscription.channel.config.SubscriptionChannelConfig;
import ca.uhn.fhir.jpa.subscription.match.config.SubscriptionProcessorConfig;
import ca.uhn.fhir.jpa.subscription.match.deliver.email.IEmailSender;
import ca.uhn.fhir.jpa.subscription.submit.config.SubscriptionSubmitterConfig;
import ca.uhn.fhir.jpa.util.LoggingEmailSender;
import ca.uhn.fhir.rest.api.EncodingEnum;
import ca.uhn.fhir.rest.server.HardcodedServerAddressStrategy;
import ca.uhn.fhir.rest.server.RestfulServer;
import ca.uhn.fhir.rest.server.provider.ResourceProviderFactory;
import ca.uhn.fhir.rest.server.util.ISearchParamRegistry;
import com.zaxxer.hikari.HikariDataSource;
import jakarta.persistence.EntityManagerFactory;
import java.util.Properties;
import javax.sql.DataSource;
import org.eclipse.jetty.ee10.servlet.ServletContextHandler;
import org.eclipse.jetty.ee10.servlet.ServletHolder;
import org.eclipse.jetty.server.HttpConfiguration;
import org.eclipse.jetty.server.HttpConnectionFactory;
import org.eclipse.jetty.server.Server;
import org.eclipse.jetty.server.ServerConnector;
import org.springframework.beans.factory.config.ConfigurableListableBeanFactory;
import org.springframework.context.annotation.AnnotationConfigApplicationContext;
import org.springframework.context.annotation.Bean;
import org.springframework.context.annotation.Configuration;
import org.springframework.context.annotation.Import;
import org.springframework.context.annotation.Primary;
import org.springframework.orm.jpa.JpaTransactionManager;
import org.springframework.orm.jpa.LocalContainerEntityManagerFactoryBean;
import org.springframework.transaction.annotation.EnableTransactionManagement;

public class Main {
    static String data;

    @Configuration
    @EnableTransactionManagement
    @Import({
        JpaR4Config.class,
        HapiJpaConfig.class,
        SubscriptionSubmitterConfig.class,
        SubscriptionProcessorConfig.class,
        SubscriptionChannelConfig.class,
        SearchParamSubmitterConfig.class,
        ThreadPoolFactoryConfig.class,
        JpaBatch2Config.class,
        Batch2JobsConfig.class
    })
    public static class Config {
        @Bean
        public DataSource dataSource() {
            HikariDataSource source = new HikariDataSource();

            source.setJdbcUrl("jdbc:h2:file:" + data + "/hapi" + System.getenv().getOrDefault("HAPI_H2", ""));
            source.setUsername("sa");
            source.setPassword("");
            source.setMaximumPoolSize(10);
            return source;
        }

        @Bean
        public LocalContainerEntityManagerFactoryBean entityManagerFactory(
                ConfigurableListableBeanFactory beans, FhirContext context, JpaStorageSettings settings) {
            LocalContainerEntityManagerFactoryBean factory =
                    HapiEntityManagerFactoryUtil.newEntityManagerFactory(beans, context, settings);
            Properties properties = new Properties();

            properties.put("hibernate.dialect", HapiFhirH2Dialect.class.getName());
            properties.put("hibernate.hbm2ddl.auto", "update");
            properties.put("hibernate.jdbc.batch_size", "20");
            properties.put("hibernate.cache.use_query_cache", "false");
            properties.put("hibernate.cache.use_second_level_cache", "false");
            properties.put("hibernate.search.enabled", "false");
            factory.setPersistenceUnitName("HAPI_PU");
            factory.setDataSource(dataSource());
            factory.setJpaProperties(properties);
            return factory;
        }

        @Bean
        @Primary
        public JpaTransactionManager transactionManager(EntityManagerFactory factory) {
            return new JpaTransactionManager(factory);
        }

        @Bean
        public JpaStorageSettings storageSettings() {
            return new JpaStorageSettings();
        }

        @Bean
        public SubscriptionSettings subscriptionSettings() {
            return new SubscriptionSettings();
        }

        @Bean
        public PartitionSettings partitionSettings() {
            return new PartitionSettings();
        }

        @Bean
        public IBinaryStorageSvc binaryStorage() {
            return new DatabaseBinaryContentStorageSvcImpl();
        }

        @Bean
        public IEmailSender emailSender() {
            return new LoggingEmailSender();
        }
    }

    private static RestfulServer servlet(AnnotationConfigApplicationContext beans, String url) {
        RestfulServer server = new RestfulServer(beans.getBean(FhirContext.class));
        IFhirSystemDao<?, ?> dao = beans.getBean(IFhirSystemDao.class);
        JpaCapabilityStatementProvider capabilities = new JpaCapabilityStatementProvider(
                server,
                dao,
                beans.getBean(JpaStorageSettings.class),
                beans.getBean(ISearchParamRegistry.class),
                beans.getBean(IValidationSupport.class));

        server.registerProviders(beans.getBean(ResourceProviderFactory.class).createProviders());
        server.registerProvider(beans.getBean("mySystemProviderR4", JpaSystemProvider.class));
        server.setServerConformanceProvider(capabilities);
        server.setPagingProvider(beans.getBean(DatabaseBackedPagingProvider.class));
        server.setServerAddressStrategy(new HardcodedServerAddressStrategy(url));
        server.setDefaultResponseEncoding(EncodingEnum.JSON);
        beans.getBean(DaoRegistry.class);
        return server;
    }

    public static void main(String[] args) throws Exception {
        int port = Integer.parseInt(args[0]);
        String url = "http://127.0.0.1:" + port + "/fhir";
        Server server = new Server();
        HttpConfiguration http = new HttpConfiguration();
        ServerConnector connector = new ServerConnector(server, new HttpConnectionFactory(http));
        ServletContextHandler handler = new ServletContextHandler();

        data = new java.io.File(args[1]).getAbsolutePath();
        AnnotationConfigApplicationContext beans = new AnnotationConfigApplicationContext(Config.class);

        connector.setHost("127.0.0.1");
        connector.setPort(port);
        server.addConnector(connector);
        handler.setContextPath("/");
        handler.addServlet(new ServletHolder(servlet(beans, url)), "/fhir/*");
        server.setHandler(handler);
        server.start();
        System.out.println("ready " + url);
        System.out.flush();
        server.join();
    }
}
